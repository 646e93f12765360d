#include "service/inspect.h"

#include <ATen/ops/empty.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/checkpoint_folder.h"
#include "service/checkpoint/gguf.h"
#include "service/checkpoint/gguf_language_model.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/checkpoint/preprocessor_config.h"
#include "service/families/nanovlm.h"
#include "service/families/vision_language_models.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::Dtype;
using language::StateDict;

int64_t Values(const std::vector<int64_t>& shape) {
  int64_t values = 1;
  for (const int64_t size : shape) values *= size;
  return values;
}

// The same shapes without values, so that a model can be made of them at no cost.
StateDict Shapes(const StateDict& weights) {
  StateDict shapes;
  for (const auto& [name, weight] : weights) {
    const auto* quantised = std::get_if<language::QuantizedTensor>(&weight);
    const at::Tensor* dense = std::get_if<at::Tensor>(&weight);
    shapes[name] = quantised != nullptr
                       ? at::empty({quantised->rows, quantised->columns}, at::device(at::kMeta).dtype(at::kFloat))
                       : at::empty(dense->sizes(), at::device(at::kMeta).dtype(dense->scalar_type()));
  }
  return shapes;
}

// The language model, of a vision-language one its part.
absl::StatusOr<std::unique_ptr<language::LanguageModel>> CreateOfShapes(const nlohmann::json& config,
                                                                        const StateDict& shapes,
                                                                        CheckpointReport& report) {
  if (!report.sees_pictures) return CreateLanguageModel(config, shapes, Dtype::kFp32);
  auto model = CreateVisionLanguageModel(config, shapes, Dtype::kFp32);
  if (!model.ok()) return model.status();
  report.tokens_per_tile = model->layout.tile_tokens;
  return std::move(model->language);
}

void TryModel(const nlohmann::json& config, const StateDict& weights, CheckpointReport& report) {
  const auto model = CreateOfShapes(config, Shapes(weights), report);
  if (!model.ok()) {
    report.problem = std::string(model.status().message());
    return;
  }
  const language::LanguageModelConfig& shape = (*model)->config();
  report.width = shape.width;
  report.layers = shape.layers;
  report.vocabulary_size = shape.vocabulary_size;
  report.context_length = shape.context_length;
  for (CheckpointReport::Memory& memory : report.memory) {
    const int64_t bytes = memory.dtype == "bf16" || memory.dtype == "fp16" ? 2 : 4;
    memory.bytes_per_token = shape.state_values * bytes;
  }
}

// weights_kept: what "auto" keeps in memory.
void CountMemory(int64_t weights_kept, CheckpointReport& report) {
  report.memory = {{"auto", weights_kept},
                   {"fp32", 4 * report.parameters},
                   {"bf16", 2 * report.parameters},
                   {"fp16", 2 * report.parameters}};
}

absl::StatusOr<CheckpointReport> InspectFolder(const fs::path& path) {
  const absl::StatusOr<CheckpointFolder> folder = ReadCheckpointFolder(path);
  if (!folder.ok()) return folder.status();
  CheckpointReport report;
  report.format = "Hugging Face folder";
  const auto type = folder->config.find("model_type");
  report.model_type = type != folder->config.end() && type->is_string() ? type->get<std::string>()
                      : IsNanoVlmConfig(folder->config)                 ? "nanovlm"
                                                                        : "";
  report.name = fs::absolute(path / ".").parent_path().filename().string();
  report.files = static_cast<int64_t>(folder->weight_files.size());
  for (const fs::path& file : folder->weight_files) {
    std::error_code error;
    report.weight_bytes += static_cast<int64_t>(fs::file_size(file, error));
  }
  for (const auto& [name, weight] : folder->weights) {
    const at::Tensor& tensor = std::get<at::Tensor>(weight);
    report.parameters += tensor.numel();
    report.formats[c10::toString(tensor.scalar_type())] += tensor.numel();
  }
  report.tensors = static_cast<int64_t>(folder->weights.size());
  CountMemory(4 * report.parameters, report);
  report.sees_pictures = IsVisionLanguageConfig(folder->config);
  TryModel(folder->config, folder->weights, report);
  if (report.sees_pictures && report.problem.empty()) {
    const auto pixels = ReadPreprocessorConfig(path);
    if (!pixels.ok()) report.problem = std::string(pixels.status().message());
  }
  return report;
}

absl::StatusOr<CheckpointReport> InspectGguf(const fs::path& path) {
  const absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  CheckpointReport report;
  report.format = absl::StrCat("GGUF version ", (*file)->version());
  if (const auto type = (*file)->String("general.architecture"); type.ok()) report.model_type = std::string(*type);
  const auto name = (*file)->String("general.name");
  report.name = name.ok() && !name->empty() ? std::string(*name) : path.stem().string();
  report.files = 1;
  report.weight_bytes = static_cast<int64_t>((*file)->bytes());
  int64_t kept = 0;
  for (const GgufTensorInfo& tensor : (*file)->tensors()) {
    const int64_t values = Values(tensor.shape);
    report.parameters += values;
    report.formats[GgufTypeName(tensor.type)] += values;
    kept += StaysQuantised(tensor.type) ? static_cast<int64_t>(tensor.bytes) : 4 * values;
  }
  report.tensors = static_cast<int64_t>((*file)->tensors().size());
  CountMemory(kept, report);
  const auto config = ReadGgufConfig(**file);
  const auto weights = config.ok() ? ReadGgufShapes(**file) : config.status();
  if (!weights.ok()) {
    report.problem = std::string(weights.status().message());
    return report;
  }
  TryModel(*config, *weights, report);
  return report;
}

}  // namespace

absl::StatusOr<CheckpointReport> InspectCheckpoint(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return InspectGguf(path);
  if (fs::exists(path / "config.json", error)) return InspectFolder(path);
  const absl::StatusOr<fs::path> gguf = FindGguf(path);
  if (!gguf.ok()) return gguf.status();
  return InspectGguf(*gguf);
}

}  // namespace blazon::service
