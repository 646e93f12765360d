#include "service/checkpoint/language_model_loader.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/checkpoint/gguf.h"
#include "service/checkpoint/gguf_language_model.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/tokenizer_loader.h"

namespace blazon::service {
namespace {

using language::Dtype;
using language::QuantFormat;

// The format that most matrices of the file have, or the dense type that was asked for.
std::string FormatName(const language::StateDict& weights, Dtype dtype) {
  if (dtype == Dtype::kFp32) return "fp32";
  if (dtype == Dtype::kBf16) return "bf16";
  if (dtype == Dtype::kFp16) return "fp16";
  std::map<QuantFormat, int> count;
  for (const auto& [name, weight] : weights) {
    if (const auto* quantised = std::get_if<language::QuantizedTensor>(&weight)) ++count[quantised->format];
  }
  if (count.empty()) return "fp32";
  const auto most =
      std::max_element(count.begin(), count.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  switch (most->first) {
    case QuantFormat::kQ4_0:
      return "Q4_0";
    case QuantFormat::kQ4_1:
      return "Q4_1";
    case QuantFormat::kQ8_0:
      return "Q8_0";
  }
  return "unknown";
}

// Ids at which generation stops: the file's end of text, and the end of a turn of its chat template.
std::vector<language::TokenId> EndTokens(const GgufFile& file, const language::ChatTemplate& chat,
                                         const language::Tokenizer& tokenizer) {
  std::vector<language::TokenId> ids;
  const auto add = [&](std::optional<int64_t> id) {
    if (!id || *id < 0 || *id >= tokenizer.vocabulary_size()) return;
    const auto token = static_cast<language::TokenId>(*id);
    if (std::find(ids.begin(), ids.end(), token) == ids.end()) ids.push_back(token);
  };
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (const auto id = file.Integer(key); id.ok()) add(*id);
  }
  add(chat.EndOfTurn(tokenizer));
  add(tokenizer.FindToken("<|endoftext|>"));
  return ids;
}

// The special tokens that chat templates know by name.
language::ChatTemplateTokens NamedTokens(const GgufFile& file, const language::Tokenizer& tokenizer) {
  constexpr std::pair<const char*, const char*> kNames[] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                                            {"eos_token", "tokenizer.ggml.eos_token_id"},
                                                            {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                                            {"pad_token", "tokenizer.ggml.padding_token_id"}};
  language::ChatTemplateTokens tokens;
  for (const auto& [name, key] : kNames) {
    const auto id = file.Integer(key);
    if (!id.ok() || *id < 0 || *id >= tokenizer.vocabulary_size()) continue;
    tokens.emplace_back(name, tokenizer.TokenBytes(static_cast<language::TokenId>(*id)));
  }
  return tokens;
}

// Whether the processor multiplies bf16 itself; without it LibTorch's bf16 products are about 100 times slower than
// fp32 ones.
bool MultipliesBf16() {
#if defined(__x86_64__)
  unsigned int a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & (1u << 22)) != 0) return true;  // AMX-BF16
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 5)) != 0;             // AVX512-BF16
#else
  return true;  // nothing is known against it
#endif
}

}  // namespace

absl::StatusOr<Dtype> ParseDtype(std::string_view name) {
  if (name == "auto") return Dtype::kAuto;
  if (name == "fp32") return Dtype::kFp32;
  if (name == "bf16") return Dtype::kBf16;
  if (name == "fp16") return Dtype::kFp16;
  return absl::InvalidArgumentError(
      absl::StrCat("dtype \"", std::string(name), "\" is unknown; use auto, fp32, bf16 or fp16"));
}

absl::StatusOr<std::filesystem::path> FindGguf(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".gguf") names.push_back(entry.path().filename().string());
  }
  if (names.empty()) return absl::NotFoundError(absl::StrCat(folder.string(), " has no GGUF file"));
  std::sort(names.begin(), names.end());
  if (names.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder.string(), " has several GGUF files; name one of ", absl::StrJoin(names, ", ")));
  }
  return folder / names[0];
}

absl::StatusOr<LoadedLanguageModel> LoadLanguageModel(const std::filesystem::path& path,
                                                      const LanguageModelLoadOptions& options) {
  absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  const absl::StatusOr<nlohmann::json> config = ReadGgufConfig(**file);
  if (!config.ok()) return config.status();
  const absl::StatusOr<language::StateDict> weights = ReadGgufWeights(**file);
  if (!weights.ok()) return weights.status();
  auto tokenizer = LoadGgufTokenizer(**file);
  if (!tokenizer.ok()) return tokenizer.status();
  const auto jinja = (*file)->String("tokenizer.chat_template");
  if (!jinja.ok()) return jinja.status();
  auto chat = language::ChatTemplate::Parse(*jinja, NamedTokens(**file, **tokenizer));
  if (!chat.ok()) return absl::Status(chat.status().code(), absl::StrCat(path.string(), ": ", chat.status().message()));
  auto model = CreateLanguageModel(*config, *weights, options.dtype);
  if (!model.ok()) {
    return absl::Status(model.status().code(), absl::StrCat(path.string(), ": ", model.status().message()));
  }
  if ((*tokenizer)->vocabulary_size() > (*model)->config().vocabulary_size) {
    return absl::DataLossError(absl::StrCat(path.string(), ": the tokenizer has ", (*tokenizer)->vocabulary_size(),
                                            " tokens, more than the embedding's ", (*model)->config().vocabulary_size,
                                            " rows"));
  }
  const auto name = (*file)->String("general.name");
  std::vector<language::TokenId> end_tokens = EndTokens(**file, *chat, **tokenizer);
  return LoadedLanguageModel{
      .model = *std::move(model),
      .tokenizer = *std::move(tokenizer),
      .chat_template = *std::move(chat),
      .end_tokens = std::move(end_tokens),
      .name = name.ok() && !name->empty() ? std::string(*name) : path.stem().string(),
      .digest = absl::StrCat("sha256:", (*file)->Digest()),
      .format = FormatName(*weights, options.dtype),
      .warning = options.dtype == Dtype::kBf16 && !MultipliesBf16()
                     ? "this processor has no bf16 arithmetic; bf16 will be about 100 times slower than fp32. Use "
                       "dtype auto or fp32."
                     : "",
  };
}

}  // namespace blazon::service
