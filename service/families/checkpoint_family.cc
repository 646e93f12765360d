#include "service/families/checkpoint_family.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"

namespace blazon::service {

using language::ChatPart;
using language::TextSegment;
using language::TokenId;

namespace {

bool IsImage(const ChatPart& part) { return part.kind == ChatPart::Kind::kImage; }

absl::Status CheckPlaces(size_t places, size_t images) {
  if (places == images) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the prompt has places for ", places, " pictures, and ", images, " were given"));
}

std::vector<at::Tensor> TokensOf(absl::Span<const EncodedImage> images) {
  std::vector<at::Tensor> tokens;
  for (const EncodedImage& image : images) tokens.push_back(image.tokens);
  return tokens;
}

void AppendIds(absl::Span<const TokenId> more, std::vector<TokenId>& ids) {
  ids.insert(ids.end(), more.begin(), more.end());
}

}  // namespace

absl::StatusOr<std::shared_ptr<const CheckpointFamily>> CheckpointFamily::Create(
    std::unique_ptr<const ImageTokenEncoder> images, ImageLayout layout, vision::Preprocessor preprocessor,
    const language::Tokenizer& tokenizer, absl::StatusOr<language::ChatTemplate> chat_template) {
  std::string slot_text = layout.image_token_text;
  if (layout.image_token < 0 && !slot_text.empty()) {
    const auto id = tokenizer.FindToken(slot_text);
    if (!id) {
      return absl::FailedPreconditionError(absl::StrCat("the tokenizer has no token \"", slot_text,
                                                        "\", which stands for a picture in this model's prompts. Use "
                                                        "the tokenizer that the model was trained with."));
    }
    layout.image_token = *id;
  } else if (layout.image_token >= 0) {
    slot_text = tokenizer.TokenBytes(layout.image_token);
    if (tokenizer.FindToken(slot_text) != layout.image_token) {
      return absl::FailedPreconditionError(
          absl::StrCat("the tokenizer has no token with the id ", layout.image_token,
                       ", which stands for a picture as config.json has it. Use the checkpoint's own tokenizer."));
    }
  }
  std::shared_ptr<CheckpointFamily> family(new CheckpointFamily(
      std::move(images), std::move(layout), std::move(preprocessor), tokenizer, std::move(chat_template)));
  family->slot_text_ = std::move(slot_text);
  return family;
}

absl::StatusOr<std::vector<EncodedImage>> CheckpointFamily::Encode(absl::Span<const vision::Image> images) const {
  std::vector<EncodedImage> encoded;
  for (const vision::Image& image : images) {
    const absl::StatusOr<vision::PreprocessedImage> ready = preprocessor_.Run(image);
    if (!ready.ok()) return ready.status();
    const absl::StatusOr<at::Tensor> tiles = images_->EncodePixels(ready->pixels, ready->mask);  // [B, T, D]
    if (!tiles.ok()) return tiles.status();
    EncodedImage& result = encoded.emplace_back();
    result.tokens = tiles->flatten(0, 1).contiguous();
    result.rows = ready->rows;
    result.columns = ready->columns;
  }
  return encoded;
}

absl::StatusOr<TextSegment> CheckpointFamily::ImageText(absl::Span<const EncodedImage> images, size_t index) const {
  const EncodedImage& image = images[index];
  const auto around = layout_.text_around_tiles({.rows = image.rows, .columns = image.columns});
  if (!around.ok()) return around.status();
  const auto tiles = static_cast<int64_t>(around->size()) - 1;
  if (tiles * layout_.tile_tokens != image.tokens.size(0)) {
    return absl::InternalError(absl::StrCat("a picture became ", image.tokens.size(0), " image tokens, not ", tiles,
                                            " tiles of ", layout_.tile_tokens));
  }
  TextSegment place;
  if (images.size() > 1 && !layout_.form.several.empty()) place.text = absl::Substitute(layout_.form.several, index);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    place.text += (*around)[tile];
    for (int64_t i = 0; i < layout_.tile_tokens; ++i) place.text += slot_text_;
  }
  place.text += around->back();
  return place;
}

absl::StatusOr<language::Prompt> CheckpointFamily::LayOutPieces(absl::Span<const EncodedImage> images,
                                                                const std::vector<Piece>& pieces) const {
  const PromptForm& form = layout_.form;
  std::vector<TextSegment> front, back;  // up to the last picture, and behind it
  size_t placed = 0;
  for (const Piece& piece : pieces) {
    if (!piece.is_image) {
      if (!piece.text.text.empty()) (placed == images.size() ? back : front).push_back(piece.text);
    } else if (has_slots()) {
      absl::StatusOr<TextSegment> place = ImageText(images, placed++);
      if (!place.ok()) return place.status();
      front.push_back(*std::move(place));
    } else if (front.empty()) {
      ++placed;
    } else {
      return absl::InvalidArgumentError("text stands before a picture; this model takes its pictures first");
    }
  }
  if (!images.empty() && !form.end.empty()) back.push_back({form.end});

  const absl::Span<const TokenId> begin = form.begin ? absl::MakeConstSpan(*form.begin) : tokenizer_.prefix();
  std::vector<TokenId> ids;
  if (form.begin_behind_images) {
    ids = tokenizer_.EncodeSegments(front);
    AppendIds(begin, ids);
    AppendIds(tokenizer_.EncodeSegments(back), ids);
  } else {
    ids.assign(begin.begin(), begin.end());
    std::move(back.begin(), back.end(), std::back_inserter(front));
    AppendIds(tokenizer_.EncodeSegments(front), ids);
  }
  if (has_slots()) return FillImageSlots(layout_, ids, TokensOf(images));
  language::Prompt prompt;
  for (const EncodedImage& image : images) prompt.emplace_back(image.tokens);
  if (!ids.empty()) prompt.emplace_back(std::move(ids));
  return prompt;
}

absl::StatusOr<language::Prompt> CheckpointFamily::LayOut(absl::Span<const EncodedImage> images,
                                                          absl::Span<const ChatPart> parts) const {
  const auto places = static_cast<size_t>(std::count_if(parts.begin(), parts.end(), IsImage));
  if (absl::Status status = CheckPlaces(places, images.size()); !status.ok()) return status;
  std::vector<Piece> pieces;
  for (const ChatPart& part : parts) pieces.push_back({{part.text, /*is_data=*/true}, IsImage(part)});
  return LayOutPieces(images, pieces);
}

absl::StatusOr<language::Prompt> CheckpointFamily::BuildPrompt(absl::Span<const EncodedImage> images,
                                                               std::string_view instruction) const {
  const PromptForm& form = layout_.form;
  const std::string text = instruction.empty() ? form.caption_prompt : std::string(instruction);
  if (form.captions_in_chat && chat_template_.ok()) {
    language::ChatMessage message = {.role = "user", .content = "", .parts = {}};
    message.parts.resize(images.size(), {.kind = ChatPart::Kind::kImage});
    message.parts.push_back({.kind = ChatPart::Kind::kText, .text = text});
    return LayOutChat(images, {&message, 1});
  }
  std::vector<Piece> pieces(images.size(), Piece{.is_image = true});
  if (!text.empty()) {
    pieces.push_back({{form.caption_before}});
    pieces.push_back({{text, /*is_data=*/true}});
    pieces.push_back({{form.caption_after}});
  }
  return LayOutPieces(images, pieces);
}

absl::StatusOr<language::Prompt> CheckpointFamily::LayOutChat(absl::Span<const EncodedImage> images,
                                                              absl::Span<const language::ChatMessage> messages) const {
  if (!chat_template_.ok()) return chat_template_.status();
  size_t places = 0;
  for (const language::ChatMessage& message : messages) {
    places += static_cast<size_t>(std::count_if(message.parts.begin(), message.parts.end(), IsImage));
  }
  if (absl::Status status = CheckPlaces(places, images.size()); !status.ok()) return status;
  if (!images.empty() && !has_slots()) {
    return absl::InvalidArgumentError(
        "this model takes pictures in plain prompts and not in conversations; give a prompt instead of messages");
  }
  const PromptForm& form = layout_.form;
  const std::string marker = form.chat_image.empty() ? slot_text_ : form.chat_image;
  language::ChatRenderOptions options;
  if (form.template_takes_text) options.image_text = marker;
  const auto rendered = chat_template_->RenderSegments(messages, options);
  if (!rendered.ok()) return rendered.status();

  // The template's markers become the pictures' places; data that spells one stays as it is.
  std::vector<TextSegment> segments;
  places = 0;
  for (const TextSegment& segment : *rendered) {
    size_t from = 0;
    for (size_t at = 0; !segment.is_data && !marker.empty(); from = at + marker.size()) {
      at = segment.text.find(marker, from);
      if (at == std::string::npos) break;
      if (places++ >= images.size()) continue;
      absl::StatusOr<TextSegment> place = ImageText(images, places - 1);
      if (!place.ok()) return place.status();
      segments.push_back({segment.text.substr(from, at - from)});
      segments.push_back(*std::move(place));
    }
    segments.push_back({segment.text.substr(from), segment.is_data});
  }
  if (places != images.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the model's chat template has places for ", places,
                                                   " pictures in this conversation, and ", images.size(),
                                                   " were given"));
  }
  const auto encoded = chat_template_->EncodeSegments(segments, tokenizer_);
  if (!encoded.ok()) return encoded.status();
  // As processors do: what a text begins with, unless the template has written it.
  std::vector<TokenId> ids;
  const absl::Span<const TokenId> prefix = tokenizer_.prefix();
  if (!prefix.empty() && (encoded->empty() || encoded->front() != prefix.front())) AppendIds(prefix, ids);
  AppendIds(*encoded, ids);
  return FillImageSlots(layout_, ids, TokensOf(images));
}

absl::StatusOr<language::Prompt> CheckpointFamily::LayOutTokens(absl::Span<const EncodedImage> images,
                                                                absl::Span<const TokenId> ids) const {
  return FillImageSlots(layout_, ids, TokensOf(images));
}

}  // namespace blazon::service
