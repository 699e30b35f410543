"""Classes of the public video instance segmentation data sets."""

__all__ = ["COCO_ID_MAPS", "THING_CLASSES"]

# fmt: off
_YTVIS_2019_CLASSES = [
    "person", "giant_panda", "lizard", "parrot", "skateboard", "sedan", "ape", "dog", "snake",
    "monkey", "hand", "rabbit", "duck", "cat", "cow", "fish", "train", "horse", "turtle",
    "bear", "motorbike", "giraffe", "leopard", "fox", "deer", "owl", "surfboard", "airplane",
    "truck", "zebra", "tiger", "elephant", "snowboard", "boat", "shark", "mouse", "frog",
    "eagle", "earless_seal", "tennis_racket",
]

_YTVIS_2021_CLASSES = [
    "airplane", "bear", "bird", "boat", "car", "cat", "cow", "deer", "dog", "duck",
    "earless_seal", "elephant", "fish", "flying_disc", "fox", "frog", "giant_panda", "giraffe",
    "horse", "leopard", "lizard", "monkey", "motorbike", "mouse", "parrot", "person", "rabbit",
    "shark", "skateboard", "snake", "snowboard", "squirrel", "surfboard", "tennis_racket",
    "tiger", "train", "truck", "turtle", "whale", "zebra",
]

# "Vehical" is the spelling of the published files.
_OVIS_CLASSES = [
    "Person", "Bird", "Cat", "Dog", "Horse", "Sheep", "Cow", "Elephant", "Bear", "Zebra",
    "Giraffe", "Poultry", "Giant_panda", "Lizard", "Parrot", "Monkey", "Rabbit", "Tiger",
    "Fish", "Turtle", "Bicycle", "Motorcycle", "Airplane", "Boat", "Vehical",
]

# Class names in the order of the category ids 1, 2, ... of the annotation files.
THING_CLASSES: dict[str, list[str]] = {
    "ytvis_2019": _YTVIS_2019_CLASSES,
    "ytvis_2021": _YTVIS_2021_CLASSES,
    "ytvis_2022": _YTVIS_2021_CLASSES,
    "ovis": _OVIS_CLASSES,
}

_COCO_TO_YTVIS_2019 = {
    1: 1, 2: 21, 3: 6, 4: 21, 5: 28, 7: 17, 8: 29, 9: 34, 17: 14, 18: 8, 19: 18, 21: 15, 22: 32,
    23: 20, 24: 30, 25: 22, 35: 33, 36: 33, 41: 5, 42: 27, 43: 40,
}
_COCO_TO_YTVIS_2021 = {
    1: 26, 2: 23, 3: 5, 4: 23, 5: 1, 7: 36, 8: 37, 9: 4, 16: 3, 17: 6, 18: 9, 19: 19, 21: 7,
    22: 12, 23: 2, 24: 40, 25: 18, 34: 14, 35: 31, 36: 31, 41: 29, 42: 33, 43: 34,
}
_COCO_TO_OVIS = {
    1: 1, 2: 21, 3: 25, 4: 22, 5: 23, 6: 25, 8: 25, 9: 24, 17: 3, 18: 4, 19: 5, 20: 6, 21: 7,
    22: 8, 23: 9, 24: 10, 25: 11,
}
# fmt: on

# From COCO category ids (1 to 90) to category ids of the video data set, to start its class layer
# from a COCO model. Bicycle to motorbike and skis to snowboard are deliberate approximations.
COCO_ID_MAPS: dict[str, dict[int, int]] = {
    "ytvis_2019": _COCO_TO_YTVIS_2019,
    "ytvis_2021": _COCO_TO_YTVIS_2021,
    "ytvis_2022": _COCO_TO_YTVIS_2021,
    "ovis": _COCO_TO_OVIS,
}
