#include "live.h"

namespace {

// Calls use(number, probabilities) for the masks of some tracks.
template <typename Use>
void for_each_mask(const Planes& logits, float threshold, Use use) {
  for (int i = 0; i < logits.channels; ++i)
    use(i, Probabilities(logits.channel(i), logits.height, logits.width, threshold));
}

}  // namespace

void LiveTracker::take_keyframe(KeyframeOutputs& outputs) {
  association_.associate(outputs.kernels, outputs.scores);
  kernels_ = std::move(outputs.kernels);
  Matrix& scores = outputs.scores;
  if (model_.mask_rescore) {
    // Maskness only lowers scores. Tracks that stay hidden anyway go without.
    const std::vector<int> tracks = tracks_.candidates(scores);
    const Planes logits = mask_product(kernels_, tracks, outputs.mask_features);
    for_each_mask(logits, model_.mask_threshold, [&](int i, const Probabilities& probabilities) {
      const float quality = maskness(probabilities, model_.mask_threshold);
      for (int k = 0; k < scores.columns; ++k) scores.row(tracks[i])[k] *= quality;
    });
  }
  tracks_.update(scores);
}

std::vector<Instance> LiveTracker::step(const Image& frame) {
  const auto [width, height] = fitted_size(frame.width, frame.height, model_.width, model_.height);
  const Image image = resize(frame, width, height);
  is_keyframe_ = since_keyframe_ == 0;
  since_keyframe_ = (since_keyframe_ + 1) % clip_len_;
  Planes features;
  if (is_keyframe_) {
    KeyframeOutputs outputs = model_.keyframe(image);
    take_keyframe(outputs);
    features = std::move(outputs.mask_features);
  } else {
    features = model_.reuse(image);
  }

  const std::vector<int> tracks = tracks_.visible();
  const std::vector<Taps> columns = frame_taps(frame.width, width, 2 * features.width);
  const std::vector<Taps> rows = frame_taps(frame.height, height, 2 * features.height);
  std::vector<Instance> instances;
  const Planes logits = mask_product(kernels_, tracks, features);
  for_each_mask(logits, model_.mask_threshold, [&](int i, const Probabilities& probabilities) {
    Mask mask = paste_mask(probabilities, columns, rows, model_.mask_threshold);
    const TrackManager::Track& track = tracks_.track(tracks[i]);
    if (!mask.empty()) instances.push_back({track.id, track.label, track.score, std::move(mask)});
  });
  return instances;
}
