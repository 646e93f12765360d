// A vision-language checkpoint's pictures and prompts: preprocessing, tower and connector, and where image tokens stand
// among text, as the family's processor in transformers (or nanoVLM's own code) lays them out.
//
// Text of users and of parts is data: control tokens spelled out in it stay text. Image tokens are put where a family's
// own text or its chat template has their places.
// Thread safety: const after Create.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/chat_template.h"
#include "language/tokenizer/tokenizer.h"
#include "service/families/vision_language_family.h"
#include "service/families/vision_language_model.h"
#include "vision/preprocessor.h"

namespace blazon::service {

class CheckpointFamily : public VisionLanguageFamily {
 public:
  // `tokenizer` must outlive the family. kFailedPrecondition: it lacks the token that stands for a picture.
  static absl::StatusOr<std::shared_ptr<const CheckpointFamily>> Create(
      std::unique_ptr<const ImageTokenEncoder> images, ImageLayout layout, vision::Preprocessor preprocessor,
      const language::Tokenizer& tokenizer, absl::StatusOr<language::ChatTemplate> chat_template);

  absl::StatusOr<std::vector<EncodedImage>> Encode(absl::Span<const vision::Image> images) const override;

  // As PromptForm says. An empty instruction asks for the family's own caption.
  absl::StatusOr<language::Prompt> BuildPrompt(absl::Span<const EncodedImage> images,
                                               std::string_view instruction) const override;
  std::vector<language::TokenSpan> Spans(const language::Prompt& prompt) const override {
    return BidirectionalSpans(layout_.attention, prompt);
  }
  std::shared_ptr<const language::Adapter> adapter() const override { return nullptr; }

  // A prompt to write on from. kInvalidArgument: `parts` has places for more or fewer pictures than `images`; or text
  // before a picture, in a family that takes its pictures first.
  absl::StatusOr<language::Prompt> LayOut(absl::Span<const EncodedImage> images,
                                          absl::Span<const language::ChatPart> parts) const;

  // A conversation, by the checkpoint's chat template; pictures in the order of the messages' parts. Errors: those of
  // ChatTemplate::Render, and as above.
  absl::StatusOr<language::Prompt> LayOutChat(absl::Span<const EncodedImage> images,
                                              absl::Span<const language::ChatMessage> messages) const;

  // Token ids as they are, in which image slots stand for `images`. kInvalidArgument: FillImageSlots.
  absl::StatusOr<language::Prompt> LayOutTokens(absl::Span<const EncodedImage> images,
                                                absl::Span<const language::TokenId> ids) const;

 private:
  // Text, or the place of the next picture.
  struct Piece {
    language::TextSegment text = {};
    bool is_image = false;
  };

  CheckpointFamily(std::unique_ptr<const ImageTokenEncoder> images, ImageLayout layout,
                   vision::Preprocessor preprocessor, const language::Tokenizer& tokenizer,
                   absl::StatusOr<language::ChatTemplate> chat_template)
      : images_(std::move(images)),
        layout_(std::move(layout)),
        preprocessor_(std::move(preprocessor)),
        tokenizer_(tokenizer),
        chat_template_(std::move(chat_template)) {}

  bool has_slots() const { return layout_.image_token >= 0; }
  // Picture `index`'s place in a prompt: the text around its tiles, and a slot for each image token.
  absl::StatusOr<language::TextSegment> ImageText(absl::Span<const EncodedImage> images, size_t index) const;
  // A plain prompt; `pieces` has a place for each picture.
  absl::StatusOr<language::Prompt> LayOutPieces(absl::Span<const EncodedImage> images,
                                                const std::vector<Piece>& pieces) const;

  std::unique_ptr<const ImageTokenEncoder> images_;
  ImageLayout layout_;     // image_token is known where the family has one
  std::string slot_text_;  // of the image token
  vision::Preprocessor preprocessor_;
  const language::Tokenizer& tokenizer_;
  absl::StatusOr<language::ChatTemplate> chat_template_;
};

}  // namespace blazon::service
