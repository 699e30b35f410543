"""The COCO format of single images: the one reader of its files, and its checks."""
