// Blazon's own small captioner: an image classifier's feature map, a connector to image tokens, a reading in words (the
// tagger's, and the measured colours), and a low-rank adapter of the language model. All that was trained lies in one
// safetensors file.
//
// The prompt: <|im_start|> image tokens, reading, newline and instruction if any <|im_end|>; the caption follows.
// Thread safety: const after loading.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "language/language_model.h"
#include "language/tokenizer/tokenizer.h"
#include "service/families/tagger.h"
#include "service/families/vision_language_family.h"
#include "vision/projector.h"

namespace blazon::service {

// What training made, and what it was made for.
struct CaptionerWeights {
  vision::Projector projector;
  Tagger tagger;
  std::shared_ptr<const language::Adapter> adapter;
  double adapter_scale = 1.0;
  at::Tensor vision_probe;  // the encoder's answer to a fixed input, by which it is known again; fp32 [n]
  int64_t language_width = 0;
  std::string language_digest;               // of the language model's file, "sha256:..."; empty: not recorded
  std::map<std::string, std::string> notes;  // "command", "seed", ...: for people
};

// The encoder's answer to a fixed input.
at::Tensor ProbeEncoder(const vision::ImageEncoder& encoder);

// Matrices are stored as fp16. Durable and all or nothing.
absl::Status WriteCaptioner(const std::filesystem::path& file, const CaptionerWeights& weights);
// kNotFound, kDataLoss, kInvalidArgument as ReadSafetensors; the message names the file.
absl::StatusOr<CaptionerWeights> ReadCaptioner(const std::filesystem::path& file);

class CaptionerFamily : public VisionLanguageFamily {
 public:
  // kFailedPrecondition: the weights were trained with another encoder, or for another width, or the tokenizer lacks
  // ChatML's control tokens. `tokenizer` must outlive the family.
  static absl::StatusOr<std::shared_ptr<CaptionerFamily>> Create(CaptionerWeights weights,
                                                                 std::shared_ptr<const vision::ImageEncoder> encoder,
                                                                 const language::Tokenizer& tokenizer,
                                                                 int64_t language_width);

  absl::StatusOr<std::vector<EncodedImage>> Encode(absl::Span<const vision::Image> images) const override;
  absl::StatusOr<language::Prompt> BuildPrompt(absl::Span<const EncodedImage> images,
                                               std::string_view instruction) const override;
  std::shared_ptr<const language::Adapter> adapter() const override { return weights_.adapter; }

  // From cells [B, kCells, C] and DescribeColours of each picture ("" where not known); Encode's manner is kCautious.
  std::vector<EncodedImage> EncodeCells(const at::Tensor& cells, absl::Span<const std::string> colours,
                                        Tagger::Manner manner) const;
  const CaptionerWeights& weights() const { return weights_; }

 private:
  CaptionerFamily(CaptionerWeights weights, std::shared_ptr<const vision::ImageEncoder> encoder,
                  const language::Tokenizer& tokenizer)
      : weights_(std::move(weights)), encoder_(std::move(encoder)), tokenizer_(tokenizer) {}

  CaptionerWeights weights_;
  std::shared_ptr<const vision::ImageEncoder> encoder_;
  const language::Tokenizer& tokenizer_;
  language::TokenId start_ = 0, end_ = 0;  // <|im_start|>, <|im_end|>
};

// language_digest: of the language model's file; empty: not compared.
// As ReadCaptioner and CaptionerFamily::Create; kFailedPrecondition also when the digest is another than the one
// trained with.
absl::StatusOr<std::shared_ptr<const VisionLanguageFamily>> LoadCaptionerFamily(
    const std::filesystem::path& file, std::shared_ptr<const vision::ImageEncoder> encoder,
    const language::Tokenizer& tokenizer, const language::LanguageModel& model, std::string_view language_digest = "");

}  // namespace blazon::service
