#include "masks.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace {

float to_logit(float probability) { return std::log(probability / (1 - probability)); }

// The two of `size` values between which a position lies, and how near it is to the second.
struct Neighbours {
  int low, high;
  float weight;

  Neighbours(double position, int size) {
    position = std::clamp(position, 0.0, size - 1.0);
    low = static_cast<int>(position);
    high = std::min(low + 1, size - 1);
    weight = static_cast<float>(position - low);
  }

  float mix(float first, float second) const { return first + weight * (second - first); }
};

// Where the center of pixel `i` lies on a grid that has `scale` pixels for each of its own.
double position(int i, double scale) { return (i + 0.5) * scale - 0.5; }

// The smallest box around the values above a threshold, empty where there is none.
template <typename T>
Mask tight_box(const T* values, int height, int width, T threshold) {
  int left = width, right = -1, top = height, bottom = -1;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      if (!(values[static_cast<size_t>(y) * width + x] > threshold)) continue;
      left = std::min(left, x);
      right = std::max(right, x);
      top = std::min(top, y);
      bottom = y;
    }
  }
  if (right < 0) return {};
  return {left, top, right + 1, bottom + 1, {}};
}

// The pixels of the frame, [begin, end), of which all neighbours are among `size` ones from `first` on.
std::array<int, 2> inside(const std::vector<Taps>& taps, int first, int size) {
  int begin = 0, end = static_cast<int>(taps.size());
  while (begin < end && taps[begin].index.front() < first) ++begin;
  while (begin < end && taps[end - 1].index.back() >= first + size) --end;
  return {begin, end};
}

}  // namespace

Planes mask_product(const Matrix& kernels, const std::vector<int>& tracks, const Planes& features) {
  const size_t area = features.area();
  Planes logits{static_cast<int>(tracks.size()), features.height, features.width, {}};
  logits.values.assign(tracks.size() * area, 0.0f);
  for (size_t i = 0; i < tracks.size(); ++i) {
    float* out = logits.values.data() + i * area;
    for (int d = 0; d < features.channels; ++d) {
      const float weight = kernels.row(tracks[i])[d];
      const float* feature = features.channel(d);
      for (size_t p = 0; p < area; ++p) out[p] += weight * feature[p];
    }
  }
  return logits;
}

Probabilities::Probabilities(const float* logits, int logits_height, int logits_width,
                             float threshold) {
  // One for the resizing here, one for the neighbours that pixels of the frame have.
  constexpr int kMargin = 2;
  const Mask box = tight_box(logits, logits_height, logits_width, to_logit(threshold));
  if (box.empty()) return;
  x0 = 2 * std::max(0, box.x0 - kMargin);
  y0 = 2 * std::max(0, box.y0 - kMargin);
  width = 2 * std::min(logits_width, box.x1 + kMargin) - x0;
  height = 2 * std::min(logits_height, box.y1 + kMargin) - y0;
  for (int y = y0; y < y0 + height; ++y) {
    const Neighbours rows(position(y, 0.5), logits_height);
    const float* upper = logits + static_cast<size_t>(rows.low) * logits_width;
    const float* lower = logits + static_cast<size_t>(rows.high) * logits_width;
    for (int x = x0; x < x0 + width; ++x) {
      const Neighbours columns(position(x, 0.5), logits_width);
      const float logit = rows.mix(columns.mix(upper[columns.low], upper[columns.high]),
                                   columns.mix(lower[columns.low], lower[columns.high]));
      values.push_back(1 / (1 + std::exp(-logit)));
    }
  }
}

float mask_score(const Probabilities& probabilities, float threshold) {
  double total = 0, area = 0;
  for (const float value : probabilities.values) {
    if (!(value > threshold)) continue;  // nor what is no number
    total += value;
    area += 1;
  }
  return static_cast<float>(total / (area + 1e-6));
}

std::vector<Taps> frame_taps(int frame_side, int image_side, int stride4_side) {
  std::vector<Taps> taps(frame_side);
  for (int i = 0; i < frame_side; ++i) {
    const Neighbours outer(position(i, static_cast<double>(image_side) / frame_side), image_side);
    const Neighbours first(position(outer.low, 0.25), stride4_side);
    const Neighbours second(position(outer.high, 0.25), stride4_side);
    const float weight = outer.weight;
    taps[i].index = {first.low, first.high, second.low, second.high};
    taps[i].weight = {(1 - weight) * (1 - first.weight), (1 - weight) * first.weight,
                      weight * (1 - second.weight), weight * second.weight};
  }
  return taps;
}

Mask paste_mask(const Probabilities& probabilities, const std::vector<Taps>& columns,
                const std::vector<Taps>& rows, float threshold) {
  const auto [begin_x, end_x] = inside(columns, probabilities.x0, probabilities.width);
  const auto [begin_y, end_y] = inside(rows, probabilities.y0, probabilities.height);
  const int width = end_x - begin_x;
  std::vector<uint8_t> pixels;
  std::vector<float> line(probabilities.width);
  for (int y = begin_y; y < end_y; ++y) {
    std::fill(line.begin(), line.end(), 0.0f);
    for (int tap = 0; tap < 4; ++tap) {
      const size_t row = rows[y].index[tap] - probabilities.y0;
      const float* values = probabilities.values.data() + row * probabilities.width;
      for (int x = 0; x < probabilities.width; ++x) line[x] += rows[y].weight[tap] * values[x];
    }
    for (int x = begin_x; x < end_x; ++x) {
      float sum = 0;
      for (int tap = 0; tap < 4; ++tap)
        sum += columns[x].weight[tap] * line[columns[x].index[tap] - probabilities.x0];
      pixels.push_back(sum > threshold);
    }
  }
  const Mask box = tight_box<uint8_t>(pixels.data(), end_y - begin_y, width, 0);
  Mask mask{begin_x + box.x0, begin_y + box.y0, begin_x + box.x1, begin_y + box.y1, {}};
  for (int y = box.y0; y < box.y1; ++y) {
    const auto row = pixels.begin() + static_cast<ptrdiff_t>(y) * width;
    mask.pixels.insert(mask.pixels.end(), row + box.x0, row + box.x1);
  }
  return mask;
}
