"""The one reader of YouTube-VIS annotation files, which checks them entry by entry.

What it finds it reports, and continues with the rest: training stops at the first error, the metric
skips faults of what it does not look at, and validation lists them all.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from pycocotools import mask as mask_util

from mobileinst_core.entries import (
    Finding,
    Report,
    are_finite,
    entries_by_id,
    has_keys,
    is_finite,
    is_integer,
    numbered_entries,
    portable_path,
    read_categories,
    stop_at_error,
)
from mobileinst_core.masks.rle import MIN_POLYGON_NUMBERS, MaskError, rle_area, to_rle, to_rles

__all__ = ["AnnotationFile", "TrackEntry", "Video", "read_track_entry"]


@dataclass(frozen=True)
class Video:
    """A video of an annotation file.

    Attributes:
        id: of the file.
        height: of the frames in pixels.
        width: of the frames in pixels.
        length: number of frames.
        file_names: one per frame, relative to the image root, with forward slashes; None if they
            are missing.
    """

    id: int
    height: int
    width: int
    length: int
    file_names: list[str] | None = None


class TrackEntry(NamedTuple):
    """An annotated or predicted track, checked but for its masks.

    Attributes:
        name: the entry in messages.
        entry: as it is in the file.
        video: the video that it belongs to.
        category_id: of the file.
        track_id: of an annotation; None if it has none of its own.
        is_crowd: of an annotation.
        areas: of an annotation, pixels or None for each frame; None if there are none.
    """

    name: str
    entry: dict[str, Any]
    video: Video
    category_id: int
    track_id: int | None = None
    is_crowd: bool = False
    areas: list[float | None] | None = None

    @property
    def segmentations(self) -> list[Any]:
        """The masks, one for each frame, in any encoding."""
        return self.entry["segmentations"]


class AnnotationFile:
    """The content of an annotation file.

    Attributes:
        categories: class names by category id, in ascending order of the id; "" for one without.
        videos: by id, in the order of the file; None for a video that cannot be used.
        has_tracks: whether there is ground truth; public validation and test sets have none.
        num_tracks: entries of the file, of which some may be damaged.
    """

    def __init__(self, content: Any, report: Report = stop_at_error) -> None:
        """Read everything but the tracks of the content of the JSON file."""
        self._report = report
        self.categories: dict[int, str] = {}
        self.videos: dict[int, Video | None] = {}
        self._annotations: Any = None
        if _is_annotation_file(content, report):
            self.categories = read_categories(content["categories"], report)
            entries = entries_by_id(content["videos"], "video", "videos", report)
            self.videos = {key: _read_video(key, entry, report) for key, entry in entries.items()}
            self._annotations = content.get("annotations")
        self.has_tracks = bool(self._annotations)
        self.num_tracks = len(self._annotations) if isinstance(self._annotations, list) else 0

    def track_entries(self) -> Iterator[TrackEntry]:
        """The tracks, checked but for masks and boxes, in the order of the file."""
        report, group = self._report, "annotations"
        if not self.has_tracks:
            return
        # The official evaluation loses tracks without an id of their own; ours does not.
        for name, track_id, entry in numbered_entries(
            self._annotations, "annotation", group, report, ids_in_metric=False
        ):
            track = read_track_entry(entry, name, self.videos, self.categories, report)
            is_crowd = entry.get("iscrowd")
            if is_crowd not in (0, 1, None):
                report(Finding(group, f"{name} has iscrowd {is_crowd!r}, which must be 0 or 1"))
            elif track is not None:
                areas = _read_values(track, "areas", is_finite, are_finite, report)
                yield track._replace(track_id=track_id, is_crowd=bool(is_crowd), areas=areas)

    def tracks(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """The tracks with their masks, one at a time.

        Yields:
            The entry of the file, and the track read from it: ``id``, ``video_id``, ``category_id``
            (of the file), ``iscrowd`` and per frame ``segmentations`` (compressed RLE, or None
            where invisible or unreadable), ``bboxes`` and ``areas`` (as given, else from the masks;
            None where invisible).
        """
        for track in self.track_entries():
            rles = _read_masks(track, self._report)
            boxes = _read_values(
                track, "bboxes", _is_box, _are_boxes, self._report, in_metric=False
            )
            if len(rles) != track.video.length or track.track_id is None:
                continue
            yield (
                track.entry,
                {
                    "id": track.track_id,
                    "video_id": track.video.id,
                    "category_id": track.category_id,
                    "iscrowd": int(track.is_crowd),
                    "segmentations": rles,
                    "bboxes": _complete(boxes, rles, lambda rle: mask_util.toBbox(rle).tolist()),
                    "areas": _complete(track.areas, rles, rle_area),
                },
            )


def read_track_entry(
    entry: dict[str, Any],
    name: str,
    videos: Mapping[int, Video | None],
    categories: Mapping[int, str],
    report: Report,
) -> TrackEntry | None:
    """Check what video and category an annotated or predicted track has, and for how many frames.

    Args:
        entry: of the annotation or results format.
        name: the entry in messages.
        videos: from :class:`AnnotationFile`.
        categories: likewise.
        report: takes what is wrong.

    Returns:
        The track; None if its masks cannot be read.
    """
    group = "annotations"
    if not has_keys(entry, ("video_id", "category_id", "segmentations"), name, group, report):
        return None
    video_id, category_id, masks = entry["video_id"], entry["category_id"], entry["segmentations"]
    has_video = is_integer(video_id) and video_id in videos
    has_category = is_integer(category_id) and category_id in categories
    if not has_video:
        message = f"{name} belongs to video {video_id!r}, which is missing in the annotation file"
        report(Finding(group, message))
    if not has_category:
        known = ", ".join(map(str, categories))
        message = (
            f"{name} has category_id {category_id!r}, which is not in the categories of the "
            f"annotation file ({known})"
        )
        report(Finding(group, message))
    video = videos[video_id] if has_video and has_category else None
    if video is None:
        return None
    if not isinstance(masks, list) or len(masks) != video.length:
        where = f"{name} of video {video.id}"
        report(_wrong_length(masks, "segmentations", video, where))
    return TrackEntry(name, entry, video, int(category_id)) if isinstance(masks, list) else None


def _is_annotation_file(content: Any, report: Report) -> bool:
    """Recognise the files that are most often taken for a YouTube-VIS annotation file."""
    message = None
    if not isinstance(content, dict):
        message = (
            f"expected a JSON object with videos and categories, got a {type(content).__name__}; "
            "a list is the format of results, not of annotations"
        )
    elif isinstance(content.get("videos"), dict):
        message = (
            "this looks like the meta.json of YouTube-VOS, which has no categories; "
            "take the annotation file of YouTube-VIS (instances.json or train.json)"
        )
    elif "images" in content and "videos" in content:
        message = (
            "this has a list of images beside the videos: it is a CocoVID file, as MMTracking "
            "converts to from the COCO format. Take the original YouTube-VIS file, or convert "
            "this one back with `tools/to_ytvis.py coco`"
        )
    elif "images" in content:
        message = (
            "this has a list of images: it is a COCO file. Register files of single images with "
            "the format 'coco'; convert frames of videos with `tools/to_ytvis.py coco`"
        )
    if message:
        report(Finding("kind of file", message))
        return False
    keys = ("videos", "categories")
    return has_keys(content, keys, "the annotation file", "kind of file", report)


def _read_video(video_id: int, entry: dict, report: Report) -> Video | None:
    group, what = "videos", f"video {video_id}"
    names, length = entry.get("file_names"), entry.get("length")
    if isinstance(names, list):
        length = len(names)
    # The metric needs no more than the number of frames.
    has_length = isinstance(names, list) or is_integer(length)
    needed = ("height", "width") if has_length else ("height", "width", "file_names")
    if not has_keys(entry, needed, what, group, report):
        return None
    if names is None and has_length:
        report(Finding(group, f"{what} has no 'file_names'", in_metric=False))
    elif not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        message = f"{what}: 'file_names' must be a list of file names"
        report(Finding(group, message, in_metric=not has_length))
        names = None
    else:
        names = [portable_path(name) for name in names]
    if names is not None and entry.get("length", length) != length:
        message = f"{what} has length {entry['length']!r} but {length} file names"
        report(Finding(group, message))
    sizes = {"height": entry["height"], "width": entry["width"]}
    if has_length:
        sizes["length"] = length
    wrong = [key for key, size in sizes.items() if not is_integer(size) or size < 1]
    for key in wrong:
        report(Finding(group, f"{what} has {key} {sizes[key]!r}, no positive integer"))
    if wrong or not has_length:
        return None
    return Video(video_id, *(int(size) for size in sizes.values()), names)


def _read_masks(track: TrackEntry, report: Report) -> list[dict[str, Any] | None]:
    """Compressed RLE of each frame; None where there is no mask or a damaged one."""
    masks, size = track.segmentations, (track.video.height, track.video.width)
    faults: dict[int, MaskError] = {}
    try:
        rles = to_rles(masks, *size)
    except MaskError:
        rles = []
        for frame, mask in enumerate(masks):
            try:
                rles.append(to_rle(mask, *size))
            except MaskError as error:
                rles.append(None)
                faults[frame] = error
    for frame, mask in enumerate(masks):
        if frame not in faults and not isinstance(mask, list):
            continue
        where = f"{track.name} of video {track.video.id}, frame {frame}"
        if frame in faults:
            report(Finding("masks", f"{where}: {faults[frame]}"))
            continue
        for polygon in mask:
            if len(polygon) < MIN_POLYGON_NUMBERS:
                message = f"{where}: a polygon of fewer than three points, which is left out"
                report(Finding("polygons", message, is_error=False))
    return rles


def _read_values(
    track: TrackEntry,
    key: str,
    is_valid: Callable[[Any], bool],
    are_valid: Callable[[list], bool],
    report: Report,
    *,
    in_metric: bool = True,
) -> list | None:
    """What a track has for each frame under a key; None if it has nothing that can be used.

    ``are_valid`` says at once that all values are; if not, ``is_valid`` looks at each.
    """
    values, where = track.entry.get(key), f"{track.name} of video {track.video.id}"
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != track.video.length:
        report(_wrong_length(values, key, track.video, where, in_metric=in_metric))
        return None
    checked = []
    if are_valid([value for value in values if value is not None]):
        return values
    for frame, value in enumerate(values):
        is_fault = value is not None and not is_valid(value)
        if is_fault:
            message = f"{where}, frame {frame}: {value!r} in '{key}'"
            report(Finding("annotations", message, in_metric=in_metric))
        checked.append(None if is_fault else value)
    return checked


def _wrong_length(
    values: Any, key: str, video: Video, where: str, *, in_metric: bool = True
) -> Finding:
    found = f"has {len(values)} entries" if isinstance(values, list) else f"is {values!r}, no list"
    message = f"{where}: the video has {video.length} frames but '{key}' {found}"
    return Finding("annotations", message, in_metric=in_metric)


def _complete(values: list | None, rles: list[dict | None], compute: Callable[[dict], Any]) -> list:
    """Values of each frame, computed from the masks where they are missing."""
    given = values or [None] * len(rles)
    return [
        None if rle is None else compute(rle) if value is None else value
        for value, rle in zip(given, rles, strict=True)
    ]


def _are_boxes(values: list) -> bool:
    """Whether it is quickly told that all are boxes."""
    return (
        set(map(type, values)) <= {list}
        and set(map(len, values)) <= {4}
        and are_finite(list(chain.from_iterable(values)))
    )


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(is_finite, value))
