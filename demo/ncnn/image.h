// Images, and the network's input from a frame.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // row by row, three bytes per pixel
};

// Resizes as Pillow does with BILINEAR, to the bit: a triangle filter that is as wide as a pixel of the
// result, so that nothing is skipped where the result is smaller.
Image resize(const Image& image, int width, int height);

// The size of a width x height frame that fits into a network of net_width x net_height, with the
// frame's aspect ratio.
std::array<int, 2> fitted_size(int width, int height, int net_width, int net_height);
