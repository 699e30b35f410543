// From the outputs of key frames to identities: association and life cycle.
#pragma once

#include <vector>

#include "tensors.h"

// The one-to-one assignment of columns to the rows of a square matrix with the largest sum.
std::vector<int> assign(const Matrix& similarity);

// Associates each key frame with the one before by the cosine similarity of kernels
// (TEST.TRACKING.MODE "prev"). Every query is a track for the whole video.
class PreviousKeyframe {
 public:
  // Takes kernels (N, D) and scores (N, K) of a key frame and brings both into the order of the tracks.
  void associate(Matrix& kernels, Matrix& scores);

 private:
  Matrix reference_;  // (N, D): the tracks' last kernels, of length 1
};

// TEST.STREAMING.
struct TrackOptions {
  float score_on;      // a track becomes visible when its smoothed score reaches this,
  float score_off;     // and hidden when it falls below this
  int max_lost;        // key frames after which a hidden track comes back as a new identity
  int max_instances;   // per frame
};

// Turns the scores of key frames into visible tracks and identities, with hysteresis.
class TrackManager {
 public:
  struct Track {
    int label = 0;  // the shown class
    float score = 0;
    int id = 0;  // from 1, never used again; 0 = none yet
    bool visible = false;
    int hidden = 0;  // key frames since it was visible
  };

  explicit TrackManager(const TrackOptions& options) : options_(options) {}

  // Numbers of the tracks that can be visible after an update with these scores, or lower ones.
  std::vector<int> candidates(const Matrix& scores) const;

  // Takes the scores (N, K) of a key frame in the order of the tracks.
  void update(const Matrix& scores);

  // Numbers of the visible tracks, best first.
  std::vector<int> visible() const;

  const Track& track(int number) const { return tracks_[number]; }

 private:
  TrackOptions options_;
  Matrix smoothed_;
  std::vector<Track> tracks_;
  int next_id_ = 1;
};
