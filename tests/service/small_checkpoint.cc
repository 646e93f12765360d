#include "tests/service/small_checkpoint.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/language/formula_weights.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

int64_t Numel(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

// The same as weight() in the script.
at::Tensor CaseWeight(const json& made, const std::string& name) {
  const json& tensor = made["tensors"][name];
  const auto shape = tensor["shape"].get<std::vector<int64_t>>();
  if (shape.size() < 2)
    return language::FormulaWeight(name, {Numel(shape)}).view(shape) - (1.0 - tensor["centre"].get<double>());
  return language::FormulaWeight(name, shape) * tensor["scale"].get<double>();
}

void WriteJson(const fs::path& file, const json& value) { std::ofstream(file) << value.dump(1) << "\n"; }

// What the processors of the families want; sides of a tile are those of the tower.
json Preprocessor(const std::string& type, int side) {
  const json square = {{"height", side}, {"width", side}}, edge = {{"longest_edge", side}};
  if (type == "paligemma") return {{"image_processor_type", "SiglipImageProcessor"}, {"size", square}};
  if (type == "gemma3") return {{"image_processor_type", "Gemma3ImageProcessor"}, {"size", square}};
  if (type == "blip") return {{"image_processor_type", "BlipImageProcessor"}, {"size", square}};
  if (type == "llava") {
    return {{"image_processor_type", "CLIPImageProcessor"}, {"size", {{"shortest_edge", side}}}, {"crop_size", square}};
  }
  return {{"image_processor_type", type == "smolvlm" ? "SmolVLMImageProcessor" : "Idefics3ImageProcessor"},
          {"size", {{"longest_edge", 2 * side}}},
          {"max_image_size", edge}};
}

// Roles and contents a line each; `image` stands for a picture.
std::string PartsTemplate(const std::string& image) {
  return absl::StrCat(
      "{% for message in messages %}{{ message['role'] + ': ' }}{% if message['content'] is string %}"
      "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '",
      image,
      "' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}");
}

constexpr char kTextTemplate[] =
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

}  // namespace

const json& VisionLanguageCases() {
  static const json& cases =
      *new json(json::parse(std::ifstream(BLAZON_SOURCE_DIR "/tests/goldens/vision_language.json")));
  return cases;
}

at::Tensor Uniform(const std::string& name, const std::vector<int64_t>& shape) {
  return (language::FormulaWeight(name, {Numel(shape)}).view(shape) - 1.0) * 4.0;
}

TensorMap CaseWeights(const json& made) {
  TensorMap weights;
  for (const auto& [name, tensor] : made["tensors"].items()) weights[name] = CaseWeight(made, name);
  return weights;
}

TensorMap LegacyCaseWeights(const json& made) {
  TensorMap weights;
  for (const auto& [name, source] : made["legacy_tensors"].items()) {
    weights[name] = source.contains("from") ? CaseWeight(made, source["from"])
                                            : at::zeros(source["zeros"].get<std::vector<int64_t>>());
  }
  return weights;
}

void WriteSmallTokenizer(const fs::path& folder, int image_token) {
  json vocabulary, added = json::array();
  int next = 0;
  const auto control = [&](const std::string& spelling, int id) {
    added.push_back({{"id", id},
                     {"content", spelling},
                     {"special", true},
                     {"normalized", false},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false}});
  };
  for (const char* name : {"<pad>", "<s>", "<2>", "<3>", "<4>", "<5>", "<6>", "</s>", "[SEP]"}) {
    control(name, next);
    vocabulary[name] = next++;
  }
  // In the alphabet that byte-level tokenizers write bytes in.
  vocabulary["Ċ"] = next++;
  vocabulary["Ġ"] = next++;
  for (char c = '!'; c <= '~'; ++c) vocabulary[std::string(1, c)] = next++;
  if (image_token >= 0) {
    for (const char* name : {"<start_of_image>", "<end_of_image>", "<fake_token_around_image>", "<global-img>",
                             "<row_1_col_1>", "<row_1_col_2>", "<row_2_col_1>", "<row_2_col_2>"}) {
      control(name, next++);
    }
    control("<image>", image_token);
  }
  for (; next < 120; ++next) vocabulary[absl::StrCat("<unused", next, ">")] = next;
  WriteJson(
      folder / "tokenizer.json",
      {{"version", "1.0"},
       {"truncation", nullptr},
       {"padding", nullptr},
       {"added_tokens", added},
       {"normalizer", nullptr},
       {"pre_tokenizer",
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}},
       {"post_processor", nullptr},
       {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
       {"model",
        {{"type", "BPE"},
         {"dropout", nullptr},
         {"unk_token", nullptr},
         {"continuing_subword_prefix", nullptr},
         {"end_of_word_suffix", nullptr},
         {"fuse_unk", false},
         {"byte_fallback", false},
         {"vocab", vocabulary},
         {"merges", json::array()}}}});
  WriteJson(folder / "tokenizer_config.json",
            {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"add_bos_token", image_token >= 0}});
}

void WriteSmallCheckpoint(const fs::path& folder, const std::string& name) {
  const json& made = VisionLanguageCases()[name];
  json config = made["config"];
  fs::create_directories(folder);
  EXPECT_TRUE(WriteSafetensors(folder / "model.safetensors", CaseWeights(made), {{"format", "pt"}}).ok());
  const std::string type = config.value("model_type", "nanovlm");
  if (type == "nanovlm") {
    if (config.contains("vlm_extra_tokens")) {
      config["lm_chat_template"] = kTextTemplate;
      config.erase("vlm_extra_tokens");
      // Not in the order of the alphabet: the order of the file is that of the ids.
      std::string text = config.dump(1);
      text.insert(
          text.rfind('}'),
          ",\"vlm_extra_tokens\": {\"image_token\": \"<|image|>\", \"global_image_token\": \"<|global_image|>\","
          "\"r1c1\": \"<row_1_col_1>\", \"r1c2\": \"<row_1_col_2>\", \"r2c1\": \"<row_2_col_1>\","
          "\"r2c2\": \"<row_2_col_2>\"}\n");
      std::ofstream(folder / "config.json") << text;
      return;
    }
    WriteJson(folder / "config.json", config);
    return;
  }
  WriteJson(folder / "config.json", config);
  WriteSmallTokenizer(folder, made["image_token"]);
  WriteJson(folder / "preprocessor_config.json", Preprocessor(type, config["vision_config"]["image_size"]));
  if (type == "paligemma" || type == "blip") return;
  const std::string jinja = PartsTemplate(type == "gemma3" ? "<start_of_image>" : "<image>");
  if (type == "llava") {
    WriteJson(folder / "chat_template.json", {{"chat_template", jinja}});
  } else {
    std::ofstream(folder / "chat_template.jinja") << jinja;
  }
}

std::string SmallPicture(int width, int height) {
  const auto little_endian = [](uint32_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i, value >>= 8) text.push_back(static_cast<char>(value & 0xff));
    return text;
  };
  const int row = (3 * width + 3) / 4 * 4;
  std::string file = "BM" + little_endian(54 + row * height, 4) + little_endian(0, 4) + little_endian(54, 4) +
                     little_endian(40, 4) + little_endian(width, 4) + little_endian(height, 4) + little_endian(1, 2) +
                     little_endian(24, 2) + little_endian(0, 4) + little_endian(row * height, 4) +
                     little_endian(2835, 4) + little_endian(2835, 4) + little_endian(0, 8);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < row; ++x) file.push_back(x < 3 * width ? static_cast<char>(x * 29 + y * 53) : '\0');
  }
  return file;
}

}  // namespace blazon::service
