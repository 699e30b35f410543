// From the outputs of key frames to identities: association and life cycle.
#pragma once

#include <vector>

#include "tensors.h"

// The one-to-one assignment of columns to the rows of a square matrix with the largest sum.
std::vector<int> assign(const Matrix& similarity);

// Associates each key frame with the one before by the cosine similarity of kernels
// (TEST.TRACKING.MODE "prev"). Every query is a slot for the whole video.
class KernelTracker {
 public:
  // Takes kernels (N, D) and scores (N, K) of a key frame and brings both into the order of the slots.
  void keyframe(Matrix& kernels, Matrix& scores);

 private:
  Matrix reference_;  // (N, D): the slots' last kernels, of length 1
};

// TEST.STREAMING.
struct LifecycleOptions {
  float score_on;      // a slot becomes visible when its smoothed score reaches this,
  float score_off;     // and hidden when it falls below this
  int max_lost;        // key frames after which a hidden slot comes back as a new identity
  int max_instances;   // per frame
  float smoothing;     // weight of the past in the moving average of the scores
  float class_margin;  // the shown class changes when another one leads by this
};

// Turns the scores of key frames into visible slots and identities, with hysteresis.
class Lifecycle {
 public:
  struct Slot {
    int label = 0;  // the shown class
    float score = 0;
    int id = 0;  // from 1, never used again; 0 = none yet
    bool visible = false;
    int hidden = 0;  // key frames since it was visible
  };

  explicit Lifecycle(const LifecycleOptions& options) : options_(options) {}

  // Numbers of the slots that can be visible after an update with these scores, or lower ones.
  std::vector<int> candidates(const Matrix& scores) const;

  // Takes the scores (N, K) of a key frame in the order of the slots.
  void update(const Matrix& scores);

  // Numbers of the visible slots, best first.
  std::vector<int> visible() const;

  const Slot& slot(int number) const { return slots_[number]; }

 private:
  LifecycleOptions options_;
  Matrix smoothed_;
  std::vector<Slot> slots_;
  int next_id_ = 1;
};
