"""Images between this store and registries or archives: documents, pull, push, copies, lists of platforms."""
