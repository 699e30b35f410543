// Arrays of numbers without gaps.
#pragma once

#include <cstddef>
#include <vector>

struct Matrix {
  int rows = 0;
  int columns = 0;
  std::vector<float> values;  // row by row
  const float* row(int i) const { return values.data() + static_cast<size_t>(i) * columns; }
  float* row(int i) { return values.data() + static_cast<size_t>(i) * columns; }
};

struct Planes {
  int channels = 0;
  int height = 0;
  int width = 0;
  std::vector<float> values;  // channel by channel, row by row
  size_t area() const { return static_cast<size_t>(height) * width; }
  const float* channel(int c) const { return values.data() + c * area(); }
};
