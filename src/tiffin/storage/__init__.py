"""Where images and containers' files live: objects, layers, flattened images, and the drivers that mount them.

Nothing here knows of tags, commands or the database; callers say which layers and images are still wanted.
"""
