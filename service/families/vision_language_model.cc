#include "service/families/vision_language_model.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {

using language::TokenId;

absl::StatusOr<at::Tensor> ImageTokenEncoder::EncodePixels(const at::Tensor& pixels,
                                                           const at::Tensor& pixel_mask) const {
  try {
    const at::NoGradGuard no_grad;
    return Encode(pixels, pixel_mask);
  } catch (const c10::Error&) {
    return absl::ResourceExhaustedError(
        "the pictures could not be encoded; is there enough memory? Send fewer at once.");
  }
}

absl::StatusOr<language::Prompt> FillImageSlots(const ImageLayout& layout, absl::Span<const TokenId> ids,
                                                absl::Span<const at::Tensor> tiles) {
  int64_t needed = 0, slots = 0;
  for (const at::Tensor& tile : tiles) needed += tile.size(0);
  for (const TokenId id : ids) slots += layout.image_token >= 0 && id == layout.image_token ? 1 : 0;
  if (layout.image_token < 0 && needed > 0) {
    return absl::InvalidArgumentError(
        "this model has no token that stands for a picture in a prompt of token ids. Give the prompt as text.");
  }
  if (slots != needed) {
    return absl::InvalidArgumentError(absl::StrCat(
        "prompt has ", slots, " image slots (token ", layout.image_token, ") for ", needed, " image tokens of ",
        tiles.size(), " tiles. Repeat the token ", layout.tile_tokens, " times for each tile."));
  }
  language::Prompt prompt;
  int64_t tile = 0, row = 0;  // the next image token
  for (size_t i = 0; i < ids.size();) {
    if (layout.image_token < 0 || ids[i] != layout.image_token) {
      std::vector<TokenId> text;
      while (i < ids.size() && (layout.image_token < 0 || ids[i] != layout.image_token)) text.push_back(ids[i++]);
      prompt.emplace_back(std::move(text));
      continue;
    }
    int64_t run = 0;
    while (i < ids.size() && ids[i] == layout.image_token) ++run, ++i;
    while (run > 0) {  // a run may hold several tiles, or a part of one
      const int64_t count = std::min(run, tiles[tile].size(0) - row);
      if (count > 0) prompt.emplace_back(tiles[tile].narrow(0, row, count));
      row += count;
      run -= count;
      if (row == tiles[tile].size(0)) ++tile, row = 0;
    }
  }
  return prompt;
}

std::vector<language::TokenSpan> BidirectionalSpans(PromptAttention attention, const language::Prompt& prompt) {
  std::vector<language::TokenSpan> spans;
  int64_t position = 0;
  for (const language::PromptPart& part : prompt) {
    const auto* tokens = std::get_if<std::vector<TokenId>>(&part);
    const int64_t length =
        tokens != nullptr ? static_cast<int64_t>(tokens->size()) : std::get<at::Tensor>(part).size(0);
    if (attention == PromptAttention::kImageRuns && tokens == nullptr && length > 0) {
      if (!spans.empty() && spans.back().end == position) {
        spans.back().end += length;
      } else {
        spans.push_back({position, position + length});
      }
    }
    position += length;
  }
  if (attention == PromptAttention::kWholePrompt && position > 0) spans.push_back({0, position});
  return spans;
}

std::function<absl::StatusOr<std::vector<std::string>>(const TileGrid&)> OneTile(std::string before,
                                                                                 std::string after) {
  return [before = std::move(before),
          after = std::move(after)](const TileGrid& grid) -> absl::StatusOr<std::vector<std::string>> {
    if (grid.rows != 0 || grid.columns != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("a picture was split into ", grid.rows, " x ", grid.columns,
                       " tiles, and this model takes a picture as one. Turn splitting off."));
    }
    return std::vector{before, after};
  };
}

}  // namespace blazon::service
