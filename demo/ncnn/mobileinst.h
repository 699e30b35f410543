/* Live tracking with an exported MobileInst: the C interface of the library.
 *
 * No function throws or ends the process. A tracker serves one thread at a time; any number of
 * trackers may be open. Strings are UTF-8. */
#ifndef MOBILEINST_H
#define MOBILEINST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define MOBILEINST_API
#else
#define MOBILEINST_API __attribute__((visibility("default")))
#endif

typedef struct MobileInst MobileInst;

typedef struct {
  int clip_len; /* every clip_len-th frame is a key frame, the others reuse its kernels; 0 = as exported;
                   only 1 if the model was exported with key frames alone */
  int threads;  /* CPU threads; 0 = 1 */
  int fp16;     /* not 0: store and compute in half precision where the processor can */
} MobileInstOptions;

/* Bytes of a pixel in memory. The last two are planes: luminance, and below it with the same row
 * stride pairs of V, U (Android's cameras) or U, V (iOS), in the full range of BT.601. */
typedef enum {
  MOBILEINST_RGB = 0,
  MOBILEINST_BGR = 1,
  MOBILEINST_RGBA = 2,
  MOBILEINST_BGRA = 3,
  MOBILEINST_NV21 = 4,
  MOBILEINST_NV12 = 5
} MobileInstFormat;

typedef struct {
  const uint8_t* pixels;
  int width, height;       /* as stored, even for NV21 and NV12 */
  size_t row_stride;       /* bytes from a row to the next; 0 = rows without gaps */
  MobileInstFormat format;
  int rotation;            /* degrees clockwise that turn the frame upright: 0, 90, 180 or 270 */
  const uint8_t* chroma;   /* of NV21 and NV12: the second plane; NULL = right after the first */
} MobileInstFrame;

/* Positions are those of the upright frame. */
typedef struct {
  int id;                 /* track ID, from 1, never used again */
  int class_index;
  const char* class_name; /* belongs to the tracker */
  float score;            /* in [0, 1] */
  int x0, y0, x1, y1;     /* tight box of the mask; x1 and y1 are outside */
  const uint8_t* mask;    /* (y1 - y0) rows of (x1 - x0) bytes, 0 or 1 */
} MobileInstInstance;

/* What belongs to the last frame. Everything is valid until the next call with this tracker. */
typedef struct {
  int count;
  const MobileInstInstance* instances; /* best first */
  int is_keyframe;
  int width, height;                   /* of the upright frame */
  /* Milliseconds: rotation and resizing, the network, association and life cycle, masks. */
  double prepare_ms, network_ms, association_ms, masks_ms;
} MobileInstResult;

/* Opens a folder that tools/export.py made for ncnn. `options` may be NULL. NULL if that fails: the
 * reason is written to `error`, of `error_size` bytes, cut off if it is longer, unless that is NULL. */
MOBILEINST_API MobileInst* mobileinst_open(const char* folder, const MobileInstOptions* options, char* error,
                                           size_t error_size);

/* Tracks the next frame. Frames may have different sizes. NULL if that fails, see mobileinst_error(). */
MOBILEINST_API const MobileInstResult* mobileinst_step(MobileInst* tracker, const MobileInstFrame* frame);

/* Why the last call with this tracker failed; "" if it did not. */
MOBILEINST_API const char* mobileinst_error(const MobileInst* tracker);

/* Starts a new video: track IDs begin at 1 again. */
MOBILEINST_API void mobileinst_reset(MobileInst* tracker);

/* Frees the tracker and all that it gave. NULL does nothing. */
MOBILEINST_API void mobileinst_close(MobileInst* tracker);

/* Of the model: its classes, and the sides of the network's input. */
MOBILEINST_API int mobileinst_num_classes(const MobileInst* tracker);
MOBILEINST_API const char* mobileinst_class_name(const MobileInst* tracker, int class_index); /* or NULL */
MOBILEINST_API int mobileinst_input_width(const MobileInst* tracker);
MOBILEINST_API int mobileinst_input_height(const MobileInst* tracker);

#ifdef __cplusplus
}
#endif

#endif
