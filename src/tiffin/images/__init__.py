"""Images: names, archives in and out, import, bootstrap, and the use cases around them.

`ImageStore` (store.py) holds what is here; everything else takes it as its first parameter.
Layers' contents belong to `tiffin.storage`, the records to `tiffin.state.images`.
"""
