// Live tracking: one frame in, its visible instances out.
#pragma once

#include <vector>

#include "masks.h"
#include "model.h"
#include "tracker.h"

struct Instance {
  int id = 0;     // from 1, never used again
  int label = 0;  // index of class_names
  float score = 0;
  Mask mask;
};

class LiveTracker {
 public:
  // Every clip_len-th frame is a key frame; the others reuse its kernels.
  LiveTracker(const Model& model, int clip_len)
      : model_(model), clip_len_(clip_len), tracks_(model.track_options) {}

  // Tracks the next frame. Returns what is visible, best first.
  std::vector<Instance> step(const Image& frame);

  bool is_keyframe() const { return is_keyframe_; }  // the last frame

 private:
  void take_keyframe(KeyframeOutputs& outputs);

  const Model& model_;
  const int clip_len_;
  int since_keyframe_ = 0;
  bool is_keyframe_ = false;
  Matrix kernels_;  // of the last key frame, in the order of the tracks
  PreviousKeyframe association_;
  TrackManager tracks_;
};
