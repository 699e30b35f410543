#include "model.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace {

Json read_manifest(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) throw std::runtime_error("it cannot be read; give a folder that tools/export.py made");
  return Json::parse(text.str());
}

// The values of an output without the gaps that ncnn leaves between channels.
std::vector<float> compact(const ncnn::Mat& mat) {
  std::vector<float> values;
  const size_t area = static_cast<size_t>(mat.w) * mat.h * mat.d;
  for (int c = 0; c < mat.c; ++c) {
    const float* channel = mat.channel(c);
    values.insert(values.end(), channel, channel + area);
  }
  return values;
}

}  // namespace

Model::Model(const std::string& folder, int threads, bool fp16) {
  ncnn::Option option;
  option.num_threads = threads;
  // ncnn would set these by itself where the processor has them, and does not say so.
  option.use_fp16_packed = option.use_fp16_storage = option.use_fp16_arithmetic = fp16;
  option.use_bf16_storage = false;
  const std::string path = folder + "/model.json";
  try {
    const Json manifest = read_manifest(path);
    if (manifest["format_version"].integer() != 4 || manifest["runtime"].string() != "ncnn")
      throw std::runtime_error("it describes no model for ncnn in format 4");
    const std::vector<Json>& shape = manifest["input"]["shape"].items();
    if (shape.size() != 4) throw std::runtime_error("'input.shape' has not four numbers");
    height = shape[2].integer();
    width = shape[3].integer();
    const std::string channels = manifest["input"]["channels"].string();
    if (channels != "RGB" && channels != "BGR")
      throw std::runtime_error("'input.channels' is neither RGB nor BGR");
    is_rgb_ = channels == "RGB";
    const std::vector<Json>& pad_value = manifest["input"]["pad_value"].items();
    if (pad_value.size() != 3) throw std::runtime_error("'input.pad_value' has not three numbers");
    for (int c = 0; c < 3; ++c) pad_value_[c] = static_cast<float>(pad_value[c].number());
    if (manifest["mask_stride"].integer() != 8) throw std::runtime_error("'mask_stride' is not 8");
    if (manifest["mask_upsampling"].integer() != 2)
      throw std::runtime_error("'mask_upsampling' is not 2");
    read_thresholds(manifest["thresholds"]);
    for (const Json& name : manifest["class_names"].items()) class_names.push_back(name.string());
    const std::vector<std::string>& graphs = manifest["graphs"].keys();
    const auto has = [&](const char* name) { return std::count(graphs.begin(), graphs.end(), name) > 0; };
    if (!has("keyframe"))
      throw std::runtime_error("the model was exported without the graph 'keyframe' and cannot track");
    load(keyframe_, "keyframe", {{"kernels", 2}, {"scores", 2}, {"mask_features", 3}}, manifest, folder,
         option);
    can_reuse = has("reuse");
    if (can_reuse) load(reuse_, "reuse", {{"mask_features", 3}}, manifest, folder, option);
    check_shapes();
  } catch (const std::exception& error) {
    throw std::runtime_error(path + ": " + error.what());
  }
}

void Model::check_shapes() const {
  const std::vector<int>& kernels = keyframe_.outputs.at("kernels").shape;
  const std::vector<int> scores{kernels[0], static_cast<int>(class_names.size())};
  if (keyframe_.outputs.at("scores").shape != scores)
    throw std::runtime_error("the shapes of scores, kernels and class_names do not fit each other");
  const std::vector<int> features{kernels[1], height / 8, width / 8};
  for (const Graph* graph : {&keyframe_, can_reuse ? &reuse_ : &keyframe_})
    if (graph->outputs.at("mask_features").shape != features)
      throw std::runtime_error("the shapes of mask_features, kernels and the input do not fit each other");
}

void Model::read_thresholds(const Json& thresholds) {
  mask_threshold = static_cast<float>(thresholds["mask"].number());
  if (!(mask_threshold > 0 && mask_threshold < 1))
    throw std::runtime_error("'thresholds.mask' is not between 0 and 1");
  mask_rescore = thresholds["mask_rescore"].number() != 0;
  const Json& tracking = thresholds["tracking"];
  if (tracking["mode"].string() != "prev")
    throw std::runtime_error("'thresholds.tracking': this program associates in the mode prev");
  clip_len = tracking["clip_len"].integer();
  if (clip_len < 1) throw std::runtime_error("'thresholds.tracking.clip_len' is below 1");
  const Json& streaming = thresholds["streaming"];
  track_options.score_on = static_cast<float>(streaming["score_on"].number());
  track_options.score_off = static_cast<float>(streaming["score_off"].number());
  track_options.max_lost = streaming["max_lost"].integer();
  track_options.max_instances = std::max(0, streaming["max_instances"].integer());
}

void Model::load(Graph& graph, const std::string& name, const std::map<std::string, size_t>& outputs,
                 const Json& manifest, const std::string& folder, const ncnn::Option& option) {
  const Json& description = manifest["graphs"][name];
  graph.name = name;
  graph.input = description["inputs"]["image"]["tensor"].string();
  for (const auto& [output, dimensions] : outputs) {
    const Json& value = description["outputs"][output];
    std::vector<int> shape;
    for (const Json& side : value["shape"].items()) shape.push_back(side.integer());
    if (shape.size() != dimensions + 1 || shape[0] != 1 ||
        *std::min_element(shape.begin(), shape.end()) < 1)
      throw std::runtime_error("'graphs." + name + ".outputs." + output + ".shape' makes no sense");
    graph.outputs[output] = {value["tensor"].string(), {shape.begin() + 1, shape.end()}};
  }
  std::string param, bin;
  for (const std::string& file : description["files"].keys())
    (file.size() > 4 && file.substr(file.size() - 4) == ".bin" ? bin : param) = folder + "/" + file;
  std::shared_ptr<ncnn::Net>& net = nets_[param];
  if (!net) {
    net = std::make_shared<ncnn::Net>();
    net->opt = option;
    // Both return 0 if all is well, and print what is not.
    if (net->load_param(param.c_str()) || net->load_model(bin.c_str()))
      throw std::runtime_error("ncnn cannot load " + param + " and " + bin);
  }
  graph.net = net;
}

ncnn::Mat Model::to_input(const Image& image) const {
  if (image.width > width || image.height > height)
    throw std::runtime_error("an image is larger than the input of the network");
  ncnn::Mat input(width, height, 3);
  for (int c = 0; c < 3; ++c) {
    ncnn::Mat channel = input.channel(c);
    channel.fill(pad_value_[c]);
    const int source = is_rgb_ ? c : 2 - c;
    for (int y = 0; y < image.height; ++y) {
      float* row = channel.row(y);
      const uint8_t* pixels = image.rgb.data() + static_cast<size_t>(y) * image.width * 3;
      for (int x = 0; x < image.width; ++x) row[x] = pixels[3 * x + source];
    }
  }
  return input;
}

Model::Results Model::run(const Graph& graph, const Image& image) const {
  ncnn::Extractor extractor = graph.net->create_extractor();
  if (extractor.input(graph.input.c_str(), to_input(image)))
    throw std::runtime_error("the graph " + graph.name + " has no input " + graph.input);
  Results results;
  for (const auto& [name, output] : graph.outputs) {
    ncnn::Mat mat;
    if (extractor.extract(output.tensor.c_str(), mat))
      throw std::runtime_error("the graph " + graph.name + " cannot give " + output.tensor);
    size_t size = 1;
    for (const int side : output.shape) size *= side;
    results[name] = compact(mat);
    if (results[name].size() != size || mat.w != output.shape.back())
      throw std::runtime_error("the output " + name + " of the graph " + graph.name +
                               " has not the shape that model.json says");
  }
  return results;
}

KeyframeOutputs Model::keyframe(const Image& image) const {
  Results results = run(keyframe_, image);
  const auto matrix = [&](const char* name) {
    const std::vector<int>& shape = keyframe_.outputs.at(name).shape;
    return Matrix{shape[0], shape[1], std::move(results[name])};
  };
  return {matrix("kernels"), matrix("scores"), mask_features(keyframe_, results)};
}

Planes Model::reuse(const Image& image) const {
  Results results = run(reuse_, image);
  return mask_features(reuse_, results);
}

Planes Model::mask_features(const Graph& graph, Results& results) {
  const std::vector<int>& shape = graph.outputs.at("mask_features").shape;
  return {shape[0], shape[1], shape[2], std::move(results["mask_features"])};
}
