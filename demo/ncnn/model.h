// An exported folder: its model.json, and its graphs in ncnn.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <net.h>

#include "image.h"
#include "json.h"
#include "tracker.h"

struct KeyframeOutputs {
  Matrix kernels;  // (N, D)
  Matrix scores;   // (N, K), in [0, 1]
  Planes mask_features;
};

class Model {
 public:
  // fp16: half precision for storage and arithmetic, where the processor has it.
  // Throws std::runtime_error that names the file and, in model.json, the value.
  Model(const std::string& folder, int threads, bool fp16);

  int width = 0;
  int height = 0;
  float mask_threshold = 0;
  bool mask_rescore = false;
  int clip_len = 1;
  TrackOptions track_options;
  std::vector<std::string> class_names;
  bool can_reuse = false;  // it was exported with the graph for that

  // The graphs. The image must not be larger than width x height. reuse() needs can_reuse.
  KeyframeOutputs keyframe(const Image& image) const;
  Planes reuse(const Image& image) const;

 private:
  struct Output {
    std::string tensor;
    std::vector<int> shape;  // without the batch
  };
  struct Graph {
    std::shared_ptr<ncnn::Net> net;  // of several graphs, if they have the same files
    std::string name, input;
    std::map<std::string, Output> outputs;
  };
  using Results = std::map<std::string, std::vector<float>>;

  void read_thresholds(const Json& thresholds);
  void check_shapes() const;
  // outputs: their names, and their numbers of dimensions without the batch.
  void load(Graph& graph, const std::string& name, const std::map<std::string, size_t>& outputs,
            const Json& manifest, const std::string& folder, const ncnn::Option& option);
  ncnn::Mat to_input(const Image& image) const;
  Results run(const Graph& graph, const Image& image) const;
  static Planes mask_features(const Graph& graph, Results& results);

  bool is_rgb_ = true;
  std::array<float, 3> pad_value_{};
  std::map<std::string, std::shared_ptr<ncnn::Net>> nets_;  // by their file of parameters
  Graph keyframe_, reuse_;
};
