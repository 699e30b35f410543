// From kernels and mask features to masks in the frame.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "image.h"
#include "tensors.h"

// Mask logits (n, h, w) at stride 8: the kernels of some tracks, times the mask features.
Planes mask_product(const Matrix& kernels, const std::vector<int>& tracks, const Planes& features);

// The probabilities of a mask at stride 4, of which only a box around the foreground is kept: no pixel
// of the frame that needs others belongs to the mask.
struct Probabilities {
  int x0 = 0, y0 = 0, width = 0, height = 0;
  std::vector<float> values;  // row by row

  // Resizes logits (h, w) at stride 8, bilinearly, and takes the sigmoid.
  Probabilities(const float* logits, int logits_height, int logits_width, float threshold);
};

// Mean probability of the foreground, which is above the threshold; 0 without foreground.
float mask_score(const Probabilities& probabilities, float threshold);

// Where the pixels of a frame lie among probabilities at stride 4, on one axis. They are resized to the
// network's input, cut off at the end of the image in it, and resized to the frame, both bilinearly:
// each pixel of the frame has two neighbours in the image, and each of these two at stride 4.
struct Taps {
  std::array<int, 4> index;
  std::array<float, 4> weight;
};
std::vector<Taps> frame_taps(int frame_side, int image_side, int stride4_side);

// A binary mask in the frame, of which only the pixels of its box are kept.
struct Mask {
  int x0 = 0, y0 = 0, x1 = 0, y1 = 0;  // x1 and y1 are outside
  std::vector<uint8_t> pixels;         // of the box, row by row: 0 or 1
  bool empty() const { return x1 <= x0; }
};

Mask paste_mask(const Probabilities& probabilities, const std::vector<Taps>& columns,
                const std::vector<Taps>& rows, float threshold);
