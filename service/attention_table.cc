#include "service/attention_table.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "language/attention_map.h"
#include "service/families/checkpoint_family.h"
#include "service/language_runtime.h"

namespace blazon::service {
namespace {

constexpr double kFaintest = 0.005;  // weights below it are not drawn
constexpr double kTopMargin = 132, kLeftMargin = 132;

// A token's bytes as a label: white space visible, XML's own characters and what is no whole character escaped.
std::string Label(const std::string& token) {
  std::string label;
  for (size_t i = 0; i < token.size() && label.size() < 60;) {
    const auto lead = static_cast<unsigned char>(token[i]);
    const size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0;
    bool whole = length > 0 && i + length <= token.size();
    for (size_t k = 1; whole && k < length; ++k) whole = (static_cast<unsigned char>(token[i + k]) & 0xC0) == 0x80;
    if (!whole || (lead < 0x20 && lead != '\n' && lead != '\t')) {
      absl::StrAppend(&label, absl::StrFormat("\\x%02X", lead));
      ++i;
      continue;
    }
    switch (token[i]) {
      case '<':
        label += "&lt;";
        break;
      case '>':
        label += "&gt;";
        break;
      case '&':
        label += "&amp;";
        break;
      case '"':
        label += "&quot;";
        break;
      case ' ':
        label += "\u2423";  // open box
        break;
      case '\n':
        label += "\u23CE";  // return
        break;
      case '\t':
        label += "\u21E5";  // tab
        break;
      default:
        label += token.substr(i, length);
    }
    i += length;
  }
  return label;
}

std::string WhichOf(const char* what, int64_t index, int64_t count) {
  return index < 0 ? absl::StrFormat("mean of %d %ss", count, what)
                   : absl::StrFormat("%s %d of %d", what, index, count);
}

}  // namespace

absl::StatusOr<AttentionTable> ReadAttention(ModelStore& models, const AttentionRequest& request) {
  std::vector<int64_t> ids(request.prompt.begin(), request.prompt.end());
  ids.insert(ids.end(), request.generated.begin(), request.generated.end());
  const auto count = static_cast<int64_t>(ids.size());
  if (count == 0 || count > kMaxAttentionTokens) {
    return absl::InvalidArgumentError(absl::StrCat("the text has ", count, " tokens; attention is shown of 1 to ",
                                                   kMaxAttentionTokens,
                                                   ". Give a shorter prompt or fewer new tokens."));
  }
  absl::StatusOr<LanguageRuntime*> runtime = models.Language();
  if (!runtime.ok()) return runtime.status();
  const LoadedLanguageModel& loaded = (*runtime)->loaded;
  for (const int64_t id : ids) {
    if (id < 0 || id >= loaded.model->config().vocabulary_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("token id ", id, " is out of range; attention is shown of texts without pictures"));
    }
  }
  const absl::StatusOr<ChosenAdapter> adapter = models.adapters().Choose(std::nullopt);
  if (!adapter.ok()) return adapter.status();
  std::vector<language::TokenSpan> spans;
  if ((*runtime)->pictures != nullptr) spans = (*runtime)->pictures->Spans({request.prompt});
  absl::StatusOr<language::AttentionMap> map = language::MapAttention(
      *loaded.model, at::tensor(ids, at::kLong), spans, adapter->weights.get(), request.layer, request.head);
  if (!map.ok()) return map.status();
  AttentionTable table;
  table.model = loaded.name;
  table.layers = map->layers;
  table.heads = map->heads;
  table.layer = request.layer;
  table.head = request.head;
  table.prompt_tokens = static_cast<int64_t>(request.prompt.size());
  for (const int64_t id : ids) table.tokens.push_back(loaded.tokenizer->TokenBytes(static_cast<language::TokenId>(id)));
  const at::Tensor weights = map->weights.contiguous();  // [T, T]
  table.weights.assign(weights.const_data_ptr<float>(), weights.const_data_ptr<float>() + weights.numel());
  return table;
}

std::string AttentionHeatMap(const AttentionTable& table) {
  const auto count = static_cast<int64_t>(table.tokens.size());
  const double cell = count <= 48 ? 18 : count <= 128 ? 10 : 6;
  const double side = cell * static_cast<double>(count);
  std::vector<std::string> labels;
  for (const std::string& token : table.tokens) labels.push_back(Label(token));
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" "
      "font-size=\"%.0f\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"8\" y=\"18\" "
      "font-size=\"13\">Attention of %s: %s, %s</text>\n",
      kLeftMargin + side + 12, kTopMargin + side + 12, cell * 0.65, Label(table.model),
      WhichOf("layer", table.layer, table.layers), WhichOf("head", table.head, table.heads));
  for (int64_t i = 0; i < count; ++i) {
    const double middle = cell * (static_cast<double>(i) + 0.7);
    absl::StrAppend(&svg, absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>"
                                          "<text transform=\"translate(%.1f %.1f) rotate(-60)\">%s</text>\n",
                                          kLeftMargin - 4, kTopMargin + middle, labels[i], kLeftMargin + middle,
                                          kTopMargin - 4, labels[i]));
  }
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t column = 0; column < count; ++column) {
      const double weight = table.weights[row * count + column];
      if (weight < kFaintest) continue;
      absl::StrAppend(&svg,
                      absl::StrFormat("<rect x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"%.0f\" fill=\"#053061\" "
                                      "fill-opacity=\"%.3f\"><title>%s \u2192 %s: %.4f</title></rect>\n",
                                      kLeftMargin + cell * static_cast<double>(column),
                                      kTopMargin + cell * static_cast<double>(row), cell, cell,
                                      std::sqrt(std::min(weight, 1.0)), labels[row], labels[column], weight));
    }
  }
  if (table.prompt_tokens > 0 && table.prompt_tokens < count) {
    const double at = cell * static_cast<double>(table.prompt_tokens);
    absl::StrAppend(
        &svg, absl::StrFormat("<path d=\"M%.0f %.0fH%.0fM%.0f %.0fV%.0f\" stroke=\"#c40\"/>\n", kLeftMargin,
                              kTopMargin + at, kLeftMargin + side, kLeftMargin + at, kTopMargin, kTopMargin + side));
  }
  return svg + "</svg>\n";
}

}  // namespace blazon::service
