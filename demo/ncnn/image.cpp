#include "image.h"

#include <algorithm>
#include <cmath>

namespace {

// For each pixel of a line of `out` pixels: the first pixel of the line of `in` pixels that it is made
// of, and the weights of this and the following ones, in units of 2^-kBits.
constexpr int kBits = 22;
struct Taps {
  int first;
  std::vector<int32_t> weights;
};

std::vector<Taps> triangle_filter(int in, int out) {
  const double scale = static_cast<double>(in) / out;
  const double support = std::max(scale, 1.0);
  std::vector<Taps> result(out);
  for (int i = 0; i < out; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int end = std::min(in, static_cast<int>(center + support + 0.5));
    std::vector<double> weights;
    double total = 0;
    for (int x = first; x < end; ++x) {
      weights.push_back(std::max(0.0, 1.0 - std::fabs((x - center + 0.5) / support)));
      total += weights.back();
    }
    result[i].first = first;
    for (double weight : weights)
      result[i].weights.push_back(static_cast<int32_t>(0.5 + weight / total * (1 << kBits)));
  }
  return result;
}

// Filters `lines` lines of pixels; pixel i of line l of the input begins at byte l * in_line + i * in_step.
void filter(const std::vector<Taps>& taps, int lines, const uint8_t* in, size_t in_line, size_t in_step,
            uint8_t* out, size_t out_line, size_t out_step) {
  for (int line = 0; line < lines; ++line) {
    for (size_t i = 0; i < taps.size(); ++i) {
      const uint8_t* source = in + line * in_line + taps[i].first * in_step;
      int64_t sums[3] = {1 << (kBits - 1), 1 << (kBits - 1), 1 << (kBits - 1)};
      for (const int32_t weight : taps[i].weights) {
        for (int c = 0; c < 3; ++c) sums[c] += static_cast<int64_t>(weight) * source[c];
        source += in_step;
      }
      uint8_t* target = out + line * out_line + i * out_step;
      for (int c = 0; c < 3; ++c)
        target[c] = static_cast<uint8_t>(std::min<int64_t>(sums[c] >> kBits, 255));
    }
  }
}

}  // namespace

Image resize(const Image& image, int width, int height) {
  const size_t in_row = static_cast<size_t>(image.width) * 3, out_row = static_cast<size_t>(width) * 3;
  std::vector<uint8_t> wide(out_row * image.height);
  filter(triangle_filter(image.width, width), image.height, image.rgb.data(), in_row, 3, wide.data(),
         out_row, 3);
  Image result{width, height, std::vector<uint8_t>(out_row * height)};
  filter(triangle_filter(image.height, height), width, wide.data(), 3, out_row, result.rgb.data(), 3,
         out_row);
  return result;
}

std::array<int, 2> fitted_size(int width, int height, int net_width, int net_height) {
  const double scale = std::min(static_cast<double>(net_width) / width,
                                static_cast<double>(net_height) / height);
  return {std::max(1, static_cast<int>(std::lrint(width * scale))),
          std::max(1, static_cast<int>(std::lrint(height * scale)))};
}
