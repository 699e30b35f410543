// Tracks instances in a video with an exported MobileInst and ncnn.

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <stdexcept>

#include "image.h"
#include "live.h"

namespace fs = std::filesystem;

namespace {

const char kUsage[] =
    "usage: mobileinst_ncnn MODEL INPUT OUTPUT [--clip-len T] [--threads N] [--fp16]\n"
    "  MODEL        folder made by tools/export.py --format ncnn\n"
    "  INPUT        folder with one PPM image per frame, or - for a stream of PPM images\n"
    "  OUTPUT       folder for results.jsonl and for the frames with masks\n"
    "  --clip-len   every T-th frame is a key frame, the others reuse its kernels (default: as exported)\n"
    "  --threads    CPU threads (default 1)\n"
    "  --fp16       compute in half precision where the processor can\n";

struct Arguments {
  std::string model, input, output;
  int clip_len = 0;  // as exported
  int threads = 1;
  bool fp16 = false;
};

int positive(const std::string& option, const std::string& text) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < 1 || value > 1000)
    throw std::runtime_error(option + " is \"" + text + "\", it must be a number from 1 to 1000");
  return static_cast<int>(value);
}

Arguments parse(const std::vector<std::string>& words) {
  Arguments arguments;
  std::vector<std::string> paths;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const std::string value = i + 1 < words.size() ? words[i + 1] : "";
    if (word == "--fp16") {
      arguments.fp16 = true;
    } else if (word == "--clip-len") {
      arguments.clip_len = positive(word, value), ++i;
    } else if (word == "--threads") {
      arguments.threads = positive(word, value), ++i;
    } else if (word.size() > 1 && word[0] == '-') {
      throw std::runtime_error("there is no option " + word + "\n" + kUsage);
    } else {
      paths.push_back(word);
    }
  }
  if (paths.size() != 3) throw std::runtime_error(std::string("three paths are needed\n") + kUsage);
  arguments.model = paths[0], arguments.input = paths[1], arguments.output = paths[2];
  return arguments;
}

// The next frame of a folder or of a stream.
class Frames {
 public:
  explicit Frames(const std::string& input) {
    if (input == "-") return;
    if (!fs::is_directory(input)) throw std::runtime_error("there is no folder " + input);
    for (const fs::directory_entry& entry : fs::directory_iterator(input))
      if (entry.path().extension() == ".ppm") files_.push_back(entry.path().string());
    if (files_.empty()) throw std::runtime_error("the folder " + input + " holds no .ppm image");
    std::sort(files_.begin(), files_.end(), natural_order);
    is_stream_ = false;
  }

  bool next(Image& frame) {
    if (is_stream_) return read_ppm(std::cin, frame);
    if (next_ == files_.size()) return false;
    const std::string& path = files_[next_++];
    try {
      std::ifstream file(path, std::ios::binary);
      if (!file || !read_ppm(file, frame)) throw std::runtime_error("it cannot be read or is empty");
    } catch (const std::exception& error) {
      throw std::runtime_error(path + ": " + error.what());
    }
    return true;
  }

 private:
  // frame2 before frame10: numbers are filled up with zeros.
  static bool natural_order(const std::string& a, const std::string& b) { return key(a) < key(b); }

  static std::string key(const std::string& text) {
    std::string result, digits;
    for (const char c : text + " ") {
      if (std::isdigit(static_cast<unsigned char>(c))) {
        digits += c;
        continue;
      }
      if (!digits.empty()) result += std::string(20 - std::min<size_t>(20, digits.size()), '0') + digits;
      digits.clear();
      result += c;
    }
    return result;
  }

  std::vector<std::string> files_;
  size_t next_ = 0;
  bool is_stream_ = true;
};

std::string quoted(const std::string& text) {
  std::ostringstream out;
  out << '"';
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20)
      out << "\\u" << std::hex << std::setw(4) << std::setfill('0') << static_cast<int>(c);
    else
      out << (c == '"' || c == '\\' ? "\\" : "") << c;
  }
  out << '"';
  return out.str();
}

// A line of results.jsonl.
std::string describe(int number, bool is_keyframe, const Image& frame, const Model& model,
                     const std::vector<Instance>& instances) {
  std::ostringstream line;
  line << "{\"frame\": " << number << ", \"is_keyframe\": " << (is_keyframe ? "true" : "false")
       << ", \"instances\": [";
  const char* separator = "";
  for (const Instance& instance : instances) {
    const Mask& mask = instance.mask;
    line << separator << "{\"id\": " << instance.id << ", \"class\": " << instance.label
         << ", \"name\": " << quoted(model.class_names[instance.label])
         << ", \"score\": " << instance.score << ", \"box\": [" << mask.x0 << ", " << mask.y0 << ", "
         << mask.x1 << ", " << mask.y1 << "], \"segmentation\": {\"size\": [" << frame.height << ", "
         << frame.width << "], \"counts\": "
         << quoted(encode_mask(mask, frame.width, frame.height)) << "}}";
    separator = ", ";
  }
  line << "]}";
  return line.str();
}

void run(const Arguments& arguments) {
  Frames frames(arguments.input);
  const Model model(arguments.model, arguments.threads, arguments.fp16);
  LiveTracker tracker(model, arguments.clip_len ? arguments.clip_len : model.clip_len);
  const fs::path output = arguments.output;
  fs::create_directories(output);
  std::ofstream results(output / "results.jsonl");
  Image frame;
  for (int number = 0; frames.next(frame); ++number) {
    const std::vector<Instance> instances = tracker.step(frame);
    results << describe(number, tracker.is_keyframe(), frame, model, instances) << std::endl;
    if (!results) throw std::runtime_error("cannot write " + (output / "results.jsonl").string());
    for (const Instance& instance : instances) draw_mask(frame, instance.mask, instance.id);
    std::ostringstream name;
    name << std::setw(6) << std::setfill('0') << number << ".ppm";
    write_ppm((output / name.str()).string(), frame);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse({argv + 1, argv + argc}));
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}
