// What one family of vision-language models does with pictures: its encoder and connector, and the layout of its
// prompts.
//
// Thread safety: const after construction; every method may be called from several threads.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/language_model.h"
#include "language/scheduler.h"
#include "vision/image.h"
#include "vision/image_encoder.h"

namespace blazon::service {

// A picture, ready for the language model.
struct EncodedImage {
  at::Tensor tokens;                  // image tokens [T, D], D = width of the language model
  std::vector<vision::Label> labels;  // the encoder's best classes, best first; empty when it has no classifier
  std::string reading;                // what the family tells the language model of the picture in words; may be empty
  int64_t rows = 0, columns = 0;      // the tiles that it was split into, beside the whole; 0 x 0: it was not
};

class VisionLanguageFamily {
 public:
  virtual ~VisionLanguageFamily() = default;

  // One EncodedImage for each picture, in order.
  virtual absl::StatusOr<std::vector<EncodedImage>> Encode(absl::Span<const vision::Image> images) const = 0;

  // The prompt for these pictures and an instruction; an empty instruction asks for a caption.
  // The instruction is user text: it is tokenised without control tokens.
  virtual absl::StatusOr<language::Prompt> BuildPrompt(absl::Span<const EncodedImage> images,
                                                       std::string_view instruction) const = 0;

  // The tokens of a prompt of this family that see one another: GenerationRequest::bidirectional.
  virtual std::vector<language::TokenSpan> Spans(const language::Prompt& prompt) const { return {}; }

  // The update of the language model that was trained with the connector; null when there is none.
  virtual std::shared_ptr<const language::Adapter> adapter() const = 0;
};

}  // namespace blazon::service
