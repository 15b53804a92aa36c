"""What is inside images: their files, the packages these belong to, differences between two, and bills of materials.

Everything read here was written by whoever made the image: sizes are bounded, links are followed inside the image
only, and a database that makes no sense is told of and left out.
"""
