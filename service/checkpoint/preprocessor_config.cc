#include "service/checkpoint/preprocessor_config.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "service/checkpoint/config_reader.h"
#include "service/checkpoint/json_file.h"

namespace blazon::service {
namespace {

using nlohmann::json;
using vision::PreprocessorConfig;
using vision::SizeRule;
using vision::SplitRule;

// What a class does beside resizing, cutting the centre, rescaling and normalising.
enum class Kind { kPlain, kLlava, kGemma3, kIdefics3 };

struct ProcessorClass {
  const char* name;  // without "ImageProcessor"
  Kind kind;
  const char* defaults;  // members of its config
};

// Of transformers 5.17.0.
constexpr const char* kClipDefaults = R"({
  "resample": 3, "size": {"shortest_edge": 224}, "default_to_square": false,
  "do_center_crop": true, "crop_size": {"height": 224, "width": 224},
  "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]})";
constexpr const char* kIdefics3Defaults = R"({
  "resample": 1, "size": {"longest_edge": 1456}, "max_image_size": {"longest_edge": 364},
  "do_image_splitting": true, "do_pad": true, "image_mean": 0.5, "image_std": 0.5})";
constexpr ProcessorClass kClasses[] = {
    {"CLIP", Kind::kPlain, kClipDefaults},
    {"Siglip", Kind::kPlain,
     R"({"resample": 3, "size": {"height": 224, "width": 224}, "default_to_square": false,
         "image_mean": 0.5, "image_std": 0.5})"},
    {"ViT", Kind::kPlain,
     R"({"resample": 2, "size": {"height": 224, "width": 224}, "image_mean": 0.5, "image_std": 0.5})"},
    {"Blip", Kind::kPlain,
     R"({"resample": 3, "size": {"height": 384, "width": 384},
         "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]})"},
    {"Llava", Kind::kLlava, kClipDefaults},
    {"Gemma3", Kind::kGemma3,
     R"({"resample": 2, "size": {"height": 224, "width": 224}, "image_mean": 0.5, "image_std": 0.5})"},
    {"Idefics3", Kind::kIdefics3, kIdefics3Defaults},
    {"SmolVLM", Kind::kIdefics3, kIdefics3Defaults},
};

// The class of a config.json's model_type, for configs that do not name theirs.
constexpr std::pair<const char*, const char*> kClassOfModel[] = {
    {"blip", "Blip"},         {"clip", "CLIP"},       {"gemma3", "Gemma3"},
    {"idefics3", "Idefics3"}, {"llava", "Llava"},     {"paligemma", "Siglip"},
    {"siglip", "Siglip"},     {"smolvlm", "SmolVLM"}, {"vit", "ViT"}};

// Members that do not change pixels, or that are read below: of all classes, and of two kinds.
constexpr const char* kMembers[] = {"_processor_class",
                                    "_valid_processor_keys",
                                    "auto_map",
                                    "crop_size",
                                    "data_format",
                                    "default_to_square",
                                    "device",
                                    "disable_grouping",
                                    "do_center_crop",
                                    "do_convert_rgb",
                                    "do_normalize",
                                    "do_pad",
                                    "do_rescale",
                                    "do_resize",
                                    "feature_extractor_type",
                                    "image_mean",
                                    "image_processor_type",
                                    "image_seq_length",
                                    "image_std",
                                    "input_data_format",
                                    "pad_size",
                                    "processor_class",
                                    "resample",
                                    "rescale_factor",
                                    "return_tensors",
                                    "size",
                                    "video_sampling"};
constexpr const char* kMembersOfGemma3[] = {"do_pan_and_scan", "pan_and_scan_max_num_crops",
                                            "pan_and_scan_min_crop_size", "pan_and_scan_min_ratio_to_activate"};
constexpr const char* kMembersOfIdefics3[] = {"do_image_splitting", "max_image_size", "return_row_col_info"};

bool IsKnown(const std::string& member, Kind kind) {
  const auto among = [&](const auto& members) {
    return std::find(std::begin(members), std::end(members), member) != std::end(members);
  };
  return among(kMembers) || (kind == Kind::kGemma3 && among(kMembersOfGemma3)) ||
         (kind == Kind::kIdefics3 && among(kMembersOfIdefics3));
}

absl::Status Invalid(absl::string_view member, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(member, " ", what));
}

// A size as configs spell it: a number, [height, width] or an object. Members that are null are as good as missing.
absl::StatusOr<json> SizeObject(const json& value, const char* member, bool square) {
  json size = json::object();
  if (value.is_number()) {
    if (square) {
      size = {{"height", value}, {"width", value}};
    } else {
      size = {{"shortest_edge", value}};
    }
  } else if (value.is_array() && value.size() == 2) {
    size = {{"height", value[0]}, {"width", value[1]}};
  } else if (value.is_object()) {
    for (const auto& [key, side] : value.items()) {
      if (!side.is_null()) size[key] = side;
    }
  } else {
    return Invalid(member, "must be a number, a list of height and width, or an object of sides");
  }
  for (const auto& [key, side] : size.items()) {
    if (!side.is_number_integer() || side.get<double>() < 1 || side.get<double>() > 65536) {
      return Invalid(member, absl::StrCat("has a ", key, " that is not a whole number from 1 to 65536"));
    }
  }
  return size;
}

// Whether `size` has just these members.
bool Has(const json& size, std::initializer_list<const char*> members) {
  return size.size() == members.size() &&
         std::all_of(members.begin(), members.end(), [&](const char* each) { return size.contains(each); });
}

std::string Members(const json& size) {
  std::vector<std::string> names;
  for (const auto& [key, side] : size.items()) names.push_back(key);
  return absl::StrJoin(names, ", ");
}

absl::Status ReadSize(const json& config, Kind kind, bool square, PreprocessorConfig& result) {
  const absl::StatusOr<json> read = SizeObject(config.at("size"), "size", square);
  if (!read.ok()) return read.status();
  const json& size = *read;
  const auto side = [&](const char* member) { return size.at(member).get<int64_t>(); };
  if (Has(size, {"height", "width"})) {
    result.size_rule = SizeRule::kExact;
    result.size = {side("width"), side("height")};
  } else if (kind == Kind::kIdefics3 && Has(size, {"longest_edge"})) {
    result.size_rule = SizeRule::kLongestEdge;
    result.edge = side("longest_edge");
  } else if (kind != Kind::kIdefics3 && Has(size, {"shortest_edge"})) {
    result.size_rule = SizeRule::kShortestEdge;
    result.edge = side("shortest_edge");
  } else if (kind != Kind::kIdefics3 && Has(size, {"shortest_edge", "longest_edge"})) {
    result.size_rule = SizeRule::kBoundedEdge;
    result.edge = side("shortest_edge");
    result.longest_edge = side("longest_edge");
  } else if (kind != Kind::kIdefics3 && Has(size, {"max_height", "max_width"})) {
    result.size_rule = SizeRule::kWithin;
    result.size = {side("max_width"), side("max_height")};
  } else {
    return absl::UnimplementedError(absl::StrCat(
        "size has the members [", Members(size), "]; known for this class are ",
        kind == Kind::kIdefics3 ? "longest_edge, and height and width"
                                : "height and width, shortest_edge with or without longest_edge, and max_height and "
                                  "max_width"));
  }
  return absl::OkStatus();
}

absl::Status ReadFilter(const json& config, PreprocessorConfig& result) {
  const json& resample = config.at("resample");  // a number of Pillow's
  if (resample == 1) {
    result.filter = vision::ResizeFilter::kLanczos;
  } else if (resample == 2) {
    result.filter = vision::ResizeFilter::kBilinear;
  } else if (resample == 3) {
    result.filter = vision::ResizeFilter::kBicubic;
  } else if (resample == 4) {
    result.filter = vision::ResizeFilter::kBox;
  } else {
    return absl::UnimplementedError(absl::StrCat("resample is ", resample.is_number() ? resample.dump() : "no number",
                                                 "; known are 1 (Lanczos), 2 (bilinear), 3 (bicubic) and 4 (box)"));
  }
  return absl::OkStatus();
}

// One number for all channels, or a list of three.
absl::Status ReadChannels(const json& config, const char* member, std::array<double, 3>& result) {
  const json& value = config.at(member);
  const json list = value.is_number() ? json{value, value, value} : value;
  bool good = list.is_array() && list.size() == 3;
  for (size_t i = 0; good && i < 3; ++i) {
    good = list[i].is_number();
    if (good) result[i] = list[i].get<double>();
  }
  return good ? absl::OkStatus() : Invalid(member, "must be a number or a list of three");
}

absl::Status CheckMembers(const json& config, const ProcessorClass& processor) {
  for (const auto& [member, value] : config.items()) {
    if (value.is_null() || IsKnown(member, processor.kind)) continue;
    return absl::UnimplementedError(
        absl::StrCat(member, " is not known of ", processor.name,
                     "ImageProcessor and might change pixels. Remove it from the file if it does not."));
  }
  for (const char* member : {"data_format", "input_data_format"}) {
    const auto found = config.find(member);
    if (found != config.end() && !found->is_null() && *found != "channels_first") {
      return absl::UnimplementedError(absl::StrCat(member, " is not \"channels_first\", the only one there is"));
    }
  }
  return absl::OkStatus();
}

// The steps that only some classes have.
absl::Status ReadSteps(const json& config, Kind kind, ConfigReader& reader, PreprocessorConfig& result) {
  const bool center_crop = reader.Flag({"do_center_crop"}, false), pad = reader.Flag({"do_pad"}, false);
  if (center_crop && (kind == Kind::kGemma3 || kind == Kind::kIdefics3)) {
    return absl::UnimplementedError("do_center_crop is true, which this class does not do");
  }
  if (pad && (kind == Kind::kPlain || kind == Kind::kGemma3)) {
    return absl::UnimplementedError("do_pad is true, which for this class depends on the other pictures of a batch");
  }
  if (reader.Has({"pad_size"})) return absl::UnimplementedError("pad_size is not supported");
  if (center_crop) {
    if (!reader.Has({"crop_size"})) return Invalid("crop_size", "is missing, but do_center_crop is true");
    const absl::StatusOr<json> size = SizeObject(config.at("crop_size"), "crop_size", /*square=*/true);
    if (!size.ok()) return size.status();
    if (!Has(*size, {"height", "width"})) return Invalid("crop_size", "must have height and width");
    result.center_crop = {size->at("width").get<int64_t>(), size->at("height").get<int64_t>()};
  }
  result.pad_to_square = pad && kind == Kind::kLlava;
  if (kind == Kind::kGemma3 && reader.Flag({"do_pan_and_scan"}, false)) {
    result.split = SplitRule::kPanAndScan;
    // Hub files have null for these; Gemma3Processor takes its own defaults then.
    result.min_crop_size = reader.Count({"pan_and_scan_min_crop_size"}, result.min_crop_size);
    result.max_crops = reader.Count({"pan_and_scan_max_num_crops"}, result.max_crops);
    result.min_ratio = reader.Positive({"pan_and_scan_min_ratio_to_activate"}, result.min_ratio);
  }
  if (kind == Kind::kIdefics3) {
    const absl::StatusOr<json> tile = SizeObject(config.at("max_image_size"), "max_image_size", /*square=*/true);
    if (!tile.ok()) return tile.status();
    if (!Has(*tile, {"longest_edge"})) return Invalid("max_image_size", "must have longest_edge and nothing else");
    result.tile_side = tile->at("longest_edge").get<int64_t>();
    result.split = reader.Flag({"do_image_splitting"}, true) ? SplitRule::kTilesThenWhole : SplitRule::kOneTile;
    result.mask = pad;
  }
  return absl::OkStatus();
}

absl::StatusOr<PreprocessorConfig> Parse(const json& given, const ProcessorClass& processor) {
  if (absl::Status status = CheckMembers(given, processor); !status.ok()) return status;
  json config = json::parse(processor.defaults);
  for (const auto& [member, value] : given.items()) {
    if (!value.is_null()) config[member] = value;
  }
  ConfigReader reader(config);
  const bool square = reader.Flag({"default_to_square"}, true);
  PreprocessorConfig result;
  for (const absl::Status& status :
       {ReadFilter(config, result), ReadSize(config, processor.kind, square, result),
        ReadChannels(config, "image_mean", result.mean), ReadChannels(config, "image_std", result.std)}) {
    if (!status.ok()) return status;
  }
  if (absl::Status status = ReadSteps(config, processor.kind, reader, result); !status.ok()) return status;
  if (!reader.Flag({"do_resize"}, true)) result.size_rule = SizeRule::kKeep;
  result.rescale = reader.Flag({"do_rescale"}, true);
  result.rescale_factor = reader.Positive({"rescale_factor"}, 1 / 255.0);
  result.normalize = reader.Flag({"do_normalize"}, true);
  const bool of_torchvision =
      result.filter == vision::ResizeFilter::kBilinear || result.filter == vision::ResizeFilter::kBicubic;
  result.arithmetic = of_torchvision && processor.kind != Kind::kIdefics3 ? vision::ResizeArithmetic::kTorchvision
                                                                          : vision::ResizeArithmetic::kPillow13;
  if (!reader.status().ok()) return reader.status();
  return result;
}

absl::StatusOr<PreprocessorConfig> ParseNanoVlm(const json& config) {
  ConfigReader reader(config);
  PreprocessorConfig result;
  result.normalize = false;
  result.tile_side = reader.Count({"vit_img_size"});
  if (!reader.Has({"max_img_size"})) {
    result.size = {result.tile_side, result.tile_side};
    result.filter = vision::ResizeFilter::kBilinear;
  } else {
    result.size_rule =
        reader.Flag({"resize_to_max_side_len"}, false) ? SizeRule::kTileMultipleUp : SizeRule::kTileMultiple;
    result.edge = reader.Count({"max_img_size"});
    const json* tokens = reader.Find({"vlm_extra_tokens"});
    const bool whole = tokens != nullptr && tokens->is_object() && tokens->contains("global_image_token");
    result.split = whole ? SplitRule::kWholeThenTiles : SplitRule::kTiles;
  }
  if (!reader.status().ok()) return reader.status();
  return result;
}

// "CLIP" of "CLIPImageProcessor", "CLIPImageProcessorFast" and "CLIPFeatureExtractor".
absl::StatusOr<std::string> ClassName(const json& config, const std::filesystem::path& folder) {
  ConfigReader reader(config);
  std::string type = reader.Text({"image_processor_type", "feature_extractor_type"}, "");
  if (!reader.status().ok()) return reader.status();
  if (!type.empty()) {
    type = absl::StrReplaceAll(type, {{"FeatureExtractor", "ImageProcessor"}});
    return std::string(absl::StripSuffix(absl::StripSuffix(type, "Fast"), "ImageProcessor"));
  }
  const absl::StatusOr<json> model = ReadJsonFile(folder / "config.json");
  const std::string model_type = model.ok() ? ConfigReader(*model).Text({"model_type"}, "") : "";
  for (const auto& [name, class_name] : kClassOfModel) {
    if (model_type == name) return class_name;
  }
  return Invalid("image_processor_type", "is missing, and config.json does not tell it either");
}

absl::StatusOr<PreprocessorConfig> ParseTransformers(const json& config, const std::filesystem::path& folder) {
  const absl::StatusOr<std::string> name = ClassName(config, folder);
  if (!name.ok()) return name.status();
  std::vector<std::string> known;
  for (const ProcessorClass& processor : kClasses) {
    if (*name == processor.name) return Parse(config, processor);
    known.push_back(absl::StrCat(processor.name, "ImageProcessor"));
  }
  return absl::UnimplementedError(absl::StrCat("image_processor_type is that of ", *name, "; known are ",
                                               absl::StrJoin(known, ", "), " and those with the suffix Fast"));
}

}  // namespace

absl::StatusOr<PreprocessorConfig> ReadPreprocessorConfig(const std::filesystem::path& folder) {
  std::filesystem::path path = folder / "processor_config.json";
  absl::StatusOr<json> file = ReadJsonFile(path);
  if (!file.ok() && !absl::IsNotFound(file.status())) return file.status();
  bool nanovlm = false;
  if (file.ok() && file->contains("image_processor")) {
    json nested = file->at("image_processor");
    if (!nested.is_object()) {
      return absl::InvalidArgumentError(absl::StrCat(path.string(), ": image_processor is not an object"));
    }
    file = std::move(nested);
  } else {
    path = folder / "preprocessor_config.json";
    file = ReadJsonFile(path);
    if (absl::IsNotFound(file.status())) {
      path = folder / "config.json";
      file = ReadJsonFile(path);
      nanovlm = file.ok() && file->contains("vit_img_size");
      if (absl::IsNotFound(file.status()) || (file.ok() && !nanovlm)) {
        return absl::NotFoundError(
            absl::StrCat(folder.string(),
                         " has neither a preprocessor_config.json nor a processor_config.json with "
                         "an image_processor. Copy it from where the checkpoint came from."));
      }
    }
    if (!file.ok()) return file.status();
  }
  absl::StatusOr<PreprocessorConfig> config = nanovlm ? ParseNanoVlm(*file) : ParseTransformers(*file, folder);
  const absl::Status status = config.ok() ? vision::CheckPreprocessorConfig(*config) : config.status();
  if (!status.ok()) return absl::Status(status.code(), absl::StrCat(path.string(), ": ", status.message()));
  return config;
}

}  // namespace blazon::service
