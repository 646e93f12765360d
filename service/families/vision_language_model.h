// A vision-language model as a checkpoint has it: a language model, what turns pixel values into its image tokens, and
// where those stand in a prompt.
//
// Shapes: B tiles (a picture, or a part of one that was split), T image tokens a tile, D width of the language model.
// Thread safety: const after creation; every method may be called from several threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/language_model.h"
#include "language/scheduler.h"

namespace blazon::service {

// Vision tower and connector.
class ImageTokenEncoder {
 public:
  virtual ~ImageTokenEncoder() = default;

  // pixels: [B, 3, H, W], resized and normalised as the checkpoint's processor does. pixel_mask: bool [B, H, W], true
  // where a pixel belongs to the picture; undefined: all. Returns [B, T, D], which enter the language model as they are
  // (ModelInput::embeddings).
  // kInvalidArgument: another shape than the tower takes; the message names both. kResourceExhausted: LibTorch failed.
  absl::StatusOr<at::Tensor> EncodePixels(const at::Tensor& pixels, const at::Tensor& pixel_mask = {}) const;

 private:
  // May throw c10::Error. Gradients are off.
  virtual absl::StatusOr<at::Tensor> Encode(const at::Tensor& pixels, const at::Tensor& pixel_mask) const = 0;
};

// The tiles that a picture was split into, beside the whole picture; 0 x 0: it was not split.
struct TileGrid {
  int64_t rows = 0;
  int64_t columns = 0;
};

// Which tokens of a prompt see one another whatever their order.
enum class PromptAttention {
  kCausal,       // none
  kWholePrompt,  // all of the prompt, text and pictures
  kImageRuns,    // each run of image tokens
};

// How prompts of a family are put together around its pictures, and what asks for a caption. Text is template text:
// control tokens that are spelled out in it count.
struct PromptForm {
  std::string caption_prompt = "Describe this picture in one sentence.";  // where no instruction is given
  // Captions are asked for in a message, by the checkpoint's chat template. Otherwise, and where it has none, by a
  // plain prompt: the pictures, then the instruction between these two.
  bool captions_in_chat = true;
  std::string caption_before = {}, caption_after = {};

  // Of a plain prompt, which a family's processor lays out:
  // What it begins with. nullopt: the tokenizer's prefix.
  std::optional<std::vector<language::TokenId>> begin = {};
  bool begin_behind_images = false;  // that stands behind the last picture instead of in front
  std::string end = {};              // behind the text of a prompt with pictures

  // Of a conversation:
  std::string chat_image = {};       // what chat templates write for a picture; empty: the image token
  bool template_takes_text = false;  // they take a message as one text, which has its pictures in it
  std::string several = {};          // before each picture where there are several; $0: its number from 0
};

struct ImageLayout {
  language::TokenId image_token = -1;  // in prompts of token ids it stands for one image token; -1: none is known
  std::string image_token_text = {};   // its text, where the tokenizer has an id for it that the config lacks
  int64_t tile_tokens = 0;             // T
  PromptAttention attention = PromptAttention::kCausal;
  // The text of a picture's place in a prompt, control tokens written out: before its first tile, between its tiles and
  // after the last, so one more than there are tiles. Tiles come in EncodePixels' order.
  // kInvalidArgument: this family does not split pictures.
  std::function<absl::StatusOr<std::vector<std::string>>(const TileGrid& grid)> text_around_tiles = nullptr;
  PromptForm form = {};
};

struct VisionLanguageModel {
  std::unique_ptr<language::LanguageModel> language;
  std::unique_ptr<const ImageTokenEncoder> images;
  ImageLayout layout;
};

// A prompt of token ids with the image tokens in their slots: runs of layout.image_token become the tiles [T, D], in
// order. kInvalidArgument: the slots are more or fewer than the tiles need; the message has both numbers. Without an
// image token in `layout`: pictures are refused (kInvalidArgument).
absl::StatusOr<language::Prompt> FillImageSlots(const ImageLayout& layout, absl::Span<const language::TokenId> ids,
                                                absl::Span<const at::Tensor> tiles);

// ModelInput::bidirectional of a whole prompt.
std::vector<language::TokenSpan> BidirectionalSpans(PromptAttention attention, const language::Prompt& prompt);

// For families that do not split pictures: {"before", "after"} the one tile.
std::function<absl::StatusOr<std::vector<std::string>>(const TileGrid&)> OneTile(std::string before, std::string after);

}  // namespace blazon::service
