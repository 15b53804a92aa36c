"""Where images come from: what they rest on, what rests on them, and how to move them to another base.

The facts are the layers themselves and what was recorded when an image was made (`state.blobs.Base`).
"""
