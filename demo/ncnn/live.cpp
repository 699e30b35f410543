#include "live.h"

#include <chrono>
#include <stdexcept>
#include <utility>

namespace {

// Milliseconds since the last call.
class Stopwatch {
 public:
  double lap() {
    const Clock::time_point now = Clock::now();
    return std::chrono::duration<double, std::milli>(now - std::exchange(last_, now)).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
};

// Calls use(number, probabilities) for the masks of some tracks.
template <typename Use>
void for_each_mask(const Planes& logits, float threshold, Use use) {
  for (int i = 0; i < logits.channels; ++i)
    use(i, Probabilities(logits.channel(i), logits.height, logits.width, threshold));
}

}  // namespace

LiveTracker::LiveTracker(const Model& model, int clip_len)
    : model_(model), clip_len_(clip_len), tracks_(model.track_options) {
  if (clip_len > 1 && !model.can_reuse)
    throw std::runtime_error("the model was exported without the graph 'reuse': it tracks with a clip length of 1");
}

void LiveTracker::take_keyframe(KeyframeOutputs& outputs) {
  association_.associate(outputs.kernels, outputs.scores);
  kernels_ = std::move(outputs.kernels);
  Matrix& scores = outputs.scores;
  if (model_.mask_rescore) {
    // The mask score only lowers scores. Tracks that stay hidden anyway go without.
    const std::vector<int> tracks = tracks_.candidates(scores);
    const Planes logits = mask_product(kernels_, tracks, outputs.mask_features);
    for_each_mask(logits, model_.mask_threshold, [&](int i, const Probabilities& probabilities) {
      const float quality = mask_score(probabilities, model_.mask_threshold);
      for (int k = 0; k < scores.columns; ++k) scores.row(tracks[i])[k] *= quality;
    });
  }
  tracks_.update(scores);
}

void LiveTracker::reset() {
  since_keyframe_ = 0;
  association_ = PreviousKeyframe();
  tracks_ = TrackManager(model_.track_options);
}

std::vector<Instance> LiveTracker::step(const Image& frame) {
  Stopwatch watch;
  Timings timings;
  const auto [width, height] = fitted_size(frame.width, frame.height, model_.width, model_.height);
  const Image image = resize(frame, width, height);
  timings.prepare = watch.lap();
  const bool is_keyframe = since_keyframe_ == 0;
  KeyframeOutputs outputs;
  if (is_keyframe)
    outputs = model_.keyframe(image);
  else
    outputs.mask_features = model_.reuse(image);
  timings.network = watch.lap();
  is_keyframe_ = is_keyframe;
  since_keyframe_ = (since_keyframe_ + 1) % clip_len_;
  if (is_keyframe) take_keyframe(outputs);
  timings.association = watch.lap();
  std::vector<Instance> instances = show(outputs.mask_features, frame, image);
  timings.masks = watch.lap();
  timings_ = timings;
  return instances;
}

std::vector<Instance> LiveTracker::show(const Planes& features, const Image& frame,
                                        const Image& image) const {
  const std::vector<int> tracks = tracks_.visible();
  const std::vector<Taps> columns = frame_taps(frame.width, image.width, 2 * features.width);
  const std::vector<Taps> rows = frame_taps(frame.height, image.height, 2 * features.height);
  std::vector<Instance> instances;
  const Planes logits = mask_product(kernels_, tracks, features);
  for_each_mask(logits, model_.mask_threshold, [&](int i, const Probabilities& probabilities) {
    Mask mask = paste_mask(probabilities, columns, rows, model_.mask_threshold);
    const TrackManager::Track& track = tracks_.track(tracks[i]);
    if (!mask.empty()) instances.push_back({track.id, track.label, track.score, std::move(mask)});
  });
  return instances;
}
