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

// Milliseconds of a frame.
struct Timings {
  double prepare = 0, network = 0, association = 0, masks = 0;
};

class LiveTracker {
 public:
  // Every clip_len-th frame is a key frame; the others reuse its kernels. Throws std::runtime_error
  // if the model was exported without the graph for these.
  LiveTracker(const Model& model, int clip_len);

  // Starts a new video. Identities start at 1 again.
  void reset();

  // Tracks the next frame. Returns what is visible, best first. A frame that fails in the network
  // changes nothing.
  std::vector<Instance> step(const Image& frame);

  bool is_keyframe() const { return is_keyframe_; }     // the last frame
  const Timings& timings() const { return timings_; }  // likewise

 private:
  void take_keyframe(KeyframeOutputs& outputs);
  std::vector<Instance> show(const Planes& features, const Image& frame, const Image& image) const;

  const Model& model_;
  const int clip_len_;
  int since_keyframe_ = 0;
  bool is_keyframe_ = false;
  Timings timings_;
  Matrix kernels_;  // of the last key frame, in the order of the tracks
  PreviousKeyframe association_;
  TrackManager tracks_;
};
