#include "service/families/captioner_family.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "language/training/lora.h"
#include "service/checkpoint/safetensors.h"
#include "service/families/colour_reading.h"

namespace blazon::service {
namespace {

constexpr const char* kFormat = "blazon-captioner-2";
constexpr int64_t kLabels = 5;

std::map<std::string, at::Tensor> WithPrefix(const std::map<std::string, at::Tensor>& tensors,
                                             const std::string& prefix) {
  std::map<std::string, at::Tensor> found;
  for (const auto& [name, tensor] : tensors) {
    if (absl::StartsWith(name, prefix)) found[name.substr(prefix.size())] = tensor;
  }
  return found;
}

absl::Status Broken(const std::filesystem::path& file, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(file.string(), " is not a captioner of Blazon's: ", what));
}

}  // namespace

at::Tensor ProbeEncoder(const vision::ImageEncoder& encoder) {
  const at::Tensor ramp = at::arange(encoder.dimension(), at::kFloat).remainder(7).view({1, -1, 1, 1});
  return encoder.Classify(ramp).flatten().slice(0, 0, 64).to(at::kFloat).contiguous();
}

absl::Status WriteCaptioner(const std::filesystem::path& file, const CaptionerWeights& weights) {
  std::map<std::string, at::Tensor> tensors;
  auto add = [&](const std::string& name, const at::Tensor& tensor) {
    tensors[name] = tensor.detach().to(tensor.dim() == 2 ? at::kHalf : at::kFloat).contiguous();
  };
  for (const auto& [name, tensor] : weights.projector.tensors()) add("connector." + name, tensor);
  for (const auto& [name, tensor] : language::LoraTensors(*weights.adapter)) add("adapter." + name, tensor);
  add("tagger.weight", weights.tagger.weight());
  add("tagger.bias", weights.tagger.bias());
  add("vision_probe", weights.vision_probe);

  nlohmann::json concepts = nlohmann::json::array();
  for (const Concept& concept_ : weights.tagger.concepts()) concepts.push_back({concept_.name, concept_.kind});
  std::map<std::string, std::string> metadata = weights.notes;
  metadata["format"] = kFormat;
  metadata["concepts"] = concepts.dump();
  metadata["row_concepts"] = nlohmann::json(weights.tagger.row_concepts()).dump();
  metadata["adapter_scale"] = absl::StrCat(weights.adapter_scale);
  metadata["language_width"] = absl::StrCat(weights.language_width);
  metadata["language_digest"] = weights.language_digest;
  return WriteSafetensors(file, tensors, metadata);
}

absl::StatusOr<CaptionerWeights> ReadCaptioner(const std::filesystem::path& file) {
  std::map<std::string, std::string> metadata;
  absl::StatusOr<TensorMap> read = ReadSafetensors(file, &metadata);
  if (!read.ok()) return read.status();
  if (metadata["format"] != kFormat)
    return Broken(file, absl::StrCat("its format is \"", metadata["format"], "\", not \"", kFormat, "\""));

  absl::StatusOr<vision::Projector> projector = vision::Projector::FromTensors(WithPrefix(*read, "connector."));
  if (!projector.ok()) return Broken(file, std::string(projector.status().message()));
  if (projector->cells() != kCells)
    return Broken(file, absl::StrCat("its connector takes ", projector->cells(), " cells, not ", kCells));

  double scale = 0;
  int64_t width = 0;
  if (!absl::SimpleAtod(metadata["adapter_scale"], &scale) || !absl::SimpleAtoi(metadata["language_width"], &width)) {
    return Broken(file, "adapter_scale or language_width is not a number");
  }
  absl::StatusOr<std::shared_ptr<language::Adapter>> adapter =
      language::AdapterFromTensors("captioner", WithPrefix(*read, "adapter."), scale);
  if (!adapter.ok()) return Broken(file, std::string(adapter.status().message()));

  const nlohmann::json concepts = nlohmann::json::parse(metadata["concepts"], nullptr, false);
  const nlohmann::json rows = nlohmann::json::parse(metadata["row_concepts"], nullptr, false);
  if (!concepts.is_array() || !rows.is_array() || !read->contains("tagger.weight") || !read->contains("tagger.bias") ||
      !read->contains("vision_probe")) {
    return Broken(file, "its tagger or its probe is missing");
  }
  std::vector<Concept> names;
  std::vector<int64_t> row_concepts;
  for (const nlohmann::json& entry : concepts) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_string())
      return Broken(file, "a concept has no name");
    names.push_back({entry[0].get<std::string>(), entry[1].get<std::string>()});
  }
  for (const nlohmann::json& entry : rows) {
    if (!entry.is_number_integer()) return Broken(file, "a row's concept is not a number");
    row_concepts.push_back(entry.get<int64_t>());
  }
  absl::StatusOr<Tagger> tagger =
      Tagger::Create(std::move(names), std::move(row_concepts), read->at("tagger.weight").to(at::kFloat).clone(),
                     read->at("tagger.bias").to(at::kFloat).clone());
  if (!tagger.ok()) return Broken(file, std::string(tagger.status().message()));

  CaptionerWeights weights{*std::move(projector),
                           *std::move(tagger),
                           *std::move(adapter),
                           scale,
                           read->at("vision_probe").clone(),
                           width,
                           metadata["language_digest"],
                           {}};
  for (const auto& [key, value] : metadata) {
    if (key != "concepts" && key != "row_concepts") weights.notes[key] = value;
  }
  return weights;
}

absl::StatusOr<std::shared_ptr<CaptionerFamily>> CaptionerFamily::Create(
    CaptionerWeights weights, std::shared_ptr<const vision::ImageEncoder> encoder, const language::Tokenizer& tokenizer,
    int64_t language_width) {
  if (weights.projector.width() != language_width) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the captioner makes image tokens of width ", weights.projector.width(), ", but the language model is ",
        language_width, " wide; use the language model it was trained with"));
  }
  const int64_t rows = static_cast<int64_t>(encoder->labels().size()) + weights.tagger.weight().size(0);
  if (weights.projector.channels() != encoder->dimension() ||
      static_cast<int64_t>(weights.tagger.row_concepts().size()) != rows ||
      !at::allclose(ProbeEncoder(*encoder), weights.vision_probe, 1e-3, 1e-3)) {
    return absl::FailedPreconditionError(
        "the captioner was trained with another image encoder than the one that is loaded");
  }
  const auto start = tokenizer.FindToken("<|im_start|>"), end = tokenizer.FindToken("<|im_end|>");
  if (!start || !end)
    return absl::FailedPreconditionError("the captioner needs a tokenizer with the tokens <|im_start|> and <|im_end|>");
  std::shared_ptr<CaptionerFamily> family(new CaptionerFamily(std::move(weights), std::move(encoder), tokenizer));
  family->start_ = *start;
  family->end_ = *end;
  return family;
}

std::vector<EncodedImage> CaptionerFamily::EncodeCells(const at::Tensor& cells, absl::Span<const std::string> colours,
                                                       Tagger::Manner manner) const {
  const at::NoGradGuard no_grad;
  const at::Tensor tokens = weights_.projector.Forward(cells);  // [B, kCells, D]
  const at::Tensor probabilities = weights_.tagger.ConceptProbabilities(
      weights_.tagger.RowLogProbabilities(*encoder_, PoolRegions(cells)));  // [B, kRegions, N]
  std::vector<EncodedImage> encoded;
  for (int64_t i = 0; i < cells.size(0); ++i) {
    encoded.push_back({tokens[i].contiguous(), weights_.tagger.Best(probabilities[i][0], kLabels),
                       weights_.tagger.Describe(probabilities[i], manner)});
    const std::string& measured = colours[static_cast<size_t>(i)];
    if (!measured.empty()) absl::StrAppend(&encoded.back().reading, "; ", measured);
  }
  return encoded;
}

absl::StatusOr<std::vector<EncodedImage>> CaptionerFamily::Encode(absl::Span<const vision::Image> images) const {
  const at::NoGradGuard no_grad;
  try {
    std::vector<EncodedImage> encoded;
    if (images.empty()) return encoded;
    std::vector<std::string> colours;
    for (const vision::Image& image : images) colours.push_back(DescribeColours(image));
    return EncodeCells(PoolCells(encoder_->Encode(encoder_->Preprocess(images))), colours, Tagger::Manner::kCautious);
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat("the picture could not be encoded: ", error.what_without_backtrace()));
  }
}

absl::StatusOr<language::Prompt> CaptionerFamily::BuildPrompt(absl::Span<const EncodedImage> images,
                                                              std::string_view instruction) const {
  if (images.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat("this captioner takes one picture a prompt, not ", images.size()));
  }
  std::string text = images[0].reading;
  if (!instruction.empty()) text.append("\n").append(instruction);
  std::vector<language::TokenId> after = tokenizer_.Encode(text);
  after.push_back(end_);
  return language::Prompt{std::vector<language::TokenId>{start_}, images[0].tokens, std::move(after)};
}

absl::StatusOr<std::shared_ptr<const VisionLanguageFamily>> LoadCaptionerFamily(
    const std::filesystem::path& file, std::shared_ptr<const vision::ImageEncoder> encoder,
    const language::Tokenizer& tokenizer, const language::LanguageModel& model, std::string_view language_digest) {
  absl::StatusOr<CaptionerWeights> weights = ReadCaptioner(file);
  if (!weights.ok()) return weights.status();
  if (!language_digest.empty() && !weights->language_digest.empty() && language_digest != weights->language_digest) {
    return absl::FailedPreconditionError(absl::StrCat("the captioner ", file.filename().string(),
                                                      " was trained with the language model ", weights->language_digest,
                                                      ", but ", std::string(language_digest), " is loaded"));
  }
  auto adapter = std::make_shared<language::Adapter>(*weights->adapter);
  language::MoveAdapter(*adapter, model.device());
  weights->adapter = std::move(adapter);
  return CaptionerFamily::Create(*std::move(weights), std::move(encoder), tokenizer, model.config().width);
}

}  // namespace blazon::service
