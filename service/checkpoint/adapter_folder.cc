#include "service/checkpoint/adapter_folder.h"

#include <ATen/ops/zeros.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/quoted.h"
#include "service/checkpoint/safetensors.h"

namespace blazon::service {
namespace {

using nlohmann::json;

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";
constexpr absl::string_view kKeyPrefix = "base_model.model.";

// Whether a PEFT pattern, a module's name or its end from a dot on, fits.
bool Fits(const std::string& module, const std::string& pattern) {
  return module == pattern || absl::EndsWith(module, absl::StrCat(".", pattern));
}

// Present and neither null, false, empty nor "none".
bool AsksFor(const json& config, const char* name) {
  const auto found = config.find(name);
  if (found == config.end() || found->is_null()) return false;
  if (found->is_boolean()) return found->get<bool>();
  if (found->is_string()) return *found != "none" && *found != "";
  return !found->empty();
}

absl::Status CheckConfig(const std::filesystem::path& file, const json& config) {
  if (config.value("peft_type", json()) != "LORA") {
    return absl::InvalidArgumentError(absl::StrCat(
        file.string(), ": peft_type is ", config.value("peft_type", json()).dump(), "; Blazon applies LORA adapters"));
  }
  for (const char* name : {"use_dora", "bias", "modules_to_save", "trainable_token_indices", "layer_replication",
                           "lora_bias", "target_parameters"}) {
    if (!AsksFor(config, name)) continue;
    return absl::UnimplementedError(absl::StrCat(file.string(), ": it uses ", name,
                                                 ", which Blazon does not apply; merge the adapter into its model"));
  }
  for (const char* name : {"r", "lora_alpha"}) {
    if (!config.contains(name) || !config[name].is_number() || !(config[name].get<double>() > 0)) {
      return absl::InvalidArgumentError(absl::StrCat(file.string(), ": ", name, " is no number above 0"));
    }
  }
  const json patterns = config.value("alpha_pattern", json());
  if (!patterns.is_object()) return absl::OkStatus();
  for (const auto& [pattern, alpha] : patterns.items()) {
    if (!alpha.is_number() || pattern.find_first_of("\\^$*+?()[]{}|") != std::string::npos) {
      return absl::UnimplementedError(absl::StrCat(file.string(), ": alpha_pattern ", Quoted(pattern),
                                                   " is a regular expression; Blazon takes names of modules"));
    }
  }
  return absl::OkStatus();
}

double ScaleOf(const json& config, const std::string& module, int64_t rank) {
  double alpha = config["lora_alpha"].get<double>();
  if (const json patterns = config.value("alpha_pattern", json()); patterns.is_object()) {
    for (const auto& [pattern, value] : patterns.items()) {
      if (Fits(module, pattern)) alpha = value.get<double>();
    }
  }
  const auto r = static_cast<double>(rank);
  return alpha / (config.value("use_rslora", false) ? std::sqrt(r) : r);
}

std::string Module(const std::string& weight) { return std::string(absl::StripSuffix(weight, ".weight")); }

// The model's modules by every name that an adapter may know them by.
std::map<std::string, std::string> ModulesByName(const language::LanguageModel& model) {
  std::map<std::string, std::string> modules;
  for (const language::Parameter& parameter : model.parameters()) {
    if (!parameter.linear) continue;
    modules[Module(parameter.name)] = Module(parameter.name);
    modules[Module(parameter.checkpoint_name)] = Module(parameter.name);
  }
  return modules;
}

}  // namespace

absl::StatusOr<std::shared_ptr<language::Adapter>> ReadAdapter(const std::filesystem::path& folder,
                                                               const language::LanguageModel& model) {
  std::error_code error;
  if (!std::filesystem::exists(folder / kWeightsFile, error) &&
      std::filesystem::exists(folder / "adapter_model.bin", error)) {
    return absl::InvalidArgumentError(
        absl::StrCat((folder / "adapter_model.bin").string(),
                     " is a pickle, and loading one runs code of whoever made it; save the adapter as safetensors"));
  }
  const absl::StatusOr<json> config = ReadJsonFile(folder / kConfigFile);
  if (!config.ok()) return config.status();
  if (absl::Status status = CheckConfig(folder / kConfigFile, *config); !status.ok()) return status;
  const std::filesystem::path file = folder / kWeightsFile;
  absl::StatusOr<TensorMap> tensors = ReadSafetensors(file);
  if (!tensors.ok()) return tensors.status();

  const std::map<std::string, std::string> modules = ModulesByName(model);
  auto adapter = std::make_shared<language::Adapter>();
  adapter->name = std::filesystem::absolute(folder / ".").parent_path().filename().string();
  for (const auto& [key, tensor] : *tensors) {
    std::string name(absl::StripPrefix(key, kKeyPrefix));
    const bool is_a = absl::EndsWith(name, ".lora_A.weight"), is_b = absl::EndsWith(name, ".lora_B.weight");
    if ((!is_a && !is_b) || tensor.dim() != 2 || !tensor.is_floating_point()) {
      return absl::UnimplementedError(absl::StrCat(file.string(), ": tensor ", Quoted(key),
                                                   " is no lora_A.weight or lora_B.weight matrix of a linear layer"));
    }
    name.resize(name.size() - std::string_view(".lora_A.weight").size());
    const auto found = modules.find(name);
    if (found == modules.end()) {
      return absl::InvalidArgumentError(absl::StrCat(file.string(), ": tensor ", Quoted(key),
                                                     " belongs to no linear layer of the model; the adapter was made "
                                                     "for another one"));
    }
    language::LoraWeights& weights = adapter->modules[found->second];
    at::Tensor& half = is_a ? weights.a : weights.b;
    half = tensor.to(at::kFloat).contiguous().clone();
    if (!half.isfinite().all().item<bool>()) {
      return absl::InvalidArgumentError(
          absl::StrCat(file.string(), ": tensor ", Quoted(key), " holds a value that is not finite"));
    }
  }
  if (adapter->modules.empty()) return absl::InvalidArgumentError(absl::StrCat(file.string(), ": it has no tensors"));
  for (auto& [module, weights] : adapter->modules) {
    if (!weights.a.defined() || !weights.b.defined() || weights.a.size(0) != weights.b.size(1)) {
      return absl::InvalidArgumentError(
          absl::StrCat(file.string(), ": the update of ", module, " lacks a matrix, or its two ranks differ"));
    }
    weights.scale = ScaleOf(*config, module, weights.a.size(0));
  }
  if (absl::Status status = language::CheckAdapter(*adapter, model); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(folder.string(), ": ", status.message()));
  }
  language::MoveAdapter(*adapter, model.device());
  return adapter;
}

absl::Status WriteAdapter(const std::filesystem::path& folder, const language::Adapter& adapter,
                          const language::LanguageModel& model, const language::LoraOptions& options,
                          const std::string& base, const std::map<std::string, std::string>& notes, bool half) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return absl::UnavailableError(absl::StrCat("the folder ", folder.string(), " cannot be made: ", error.message()));
  TensorMap tensors;
  std::set<std::string> targets(options.targets.begin(), options.targets.end());
  bool transposed = false;
  for (const language::Parameter& parameter : model.parameters()) {
    const auto found = adapter.modules.find(Module(parameter.name));
    if (!parameter.linear || found == adapter.modules.end()) continue;
    const std::string module = Module(parameter.checkpoint_name);
    const at::ScalarType type = half ? at::kHalf : at::kFloat;
    tensors[absl::StrCat(kKeyPrefix, module, ".lora_A.weight")] = found->second.a.detach().to(type);
    tensors[absl::StrCat(kKeyPrefix, module, ".lora_B.weight")] = found->second.b.detach().to(type);
    if (options.targets.empty()) targets.insert(module.substr(module.rfind('.') + 1));
    transposed |= parameter.transposed;
  }
  json config = {
      {"peft_type", "LORA"},       {"task_type", "CAUSAL_LM"},        {"base_model_name_or_path", base},
      {"r", options.rank},         {"lora_dropout", options.dropout}, {"use_rslora", options.rank_stabilised},
      {"target_modules", targets}, {"fan_in_fan_out", transposed},    {"bias", "none"},
      {"inference_mode", true},    {"init_lora_weights", true}};
  if (options.alpha == std::floor(options.alpha)) {
    config["lora_alpha"] = static_cast<int64_t>(options.alpha);
  } else {
    config["lora_alpha"] = options.alpha;
  }
  std::map<std::string, std::string> metadata = notes;
  metadata["format"] = "pt";
  if (absl::Status status = WriteSafetensors(folder / kWeightsFile, tensors, metadata); !status.ok()) return status;
  std::ofstream out(folder / kConfigFile, std::ios::trunc);
  out << config.dump(2) << "\n";
  out.flush();
  if (!out) return absl::UnavailableError(absl::StrCat((folder / kConfigFile).string(), " cannot be written"));
  return absl::OkStatus();
}

}  // namespace blazon::service
