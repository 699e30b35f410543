// Frames as PPM files.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "image.h"

// Reads the next image of a stream of binary PPM files (P6, 8 bits). Returns false at its end, and
// throws std::runtime_error where what follows is no such image.
bool read_ppm(std::istream& stream, Image& image);

void write_ppm(const std::string& path, const Image& image);

// The frames of a folder, in natural order of their names, or of a stream.
class PpmFrames {
 public:
  // "-" is standard input. Throws std::runtime_error where there are no frames.
  explicit PpmFrames(const std::string& input);

  // False after the last one. Throws std::runtime_error that names the file.
  bool next(Image& frame);

 private:
  std::vector<std::string> files_;
  size_t next_ = 0;
  bool is_stream_ = true;
};
