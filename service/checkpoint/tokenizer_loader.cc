#include "service/checkpoint/tokenizer_loader.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/mapped_file.h"

namespace blazon::service {
namespace {

using language::BytePairTokenizer;
using language::BytePairVocabulary;
using language::PreTokenizer;
using language::WordPieceTokenizer;
using language::WordPieceVocabulary;
using nlohmann::json;

// Token types of "tokenizer.ggml.token_type".
constexpr int64_t kUnknownType = 2, kControlType = 3;

std::string Quoted(std::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(std::string(text.substr(0, 80))), "\"");
}

// The same failure, naming the file; what a file's tables contradict is the file's fault, not the caller's.
absl::Status AtFile(const std::filesystem::path& path, const absl::Status& status) {
  const absl::StatusCode code =
      absl::IsUnimplemented(status) || absl::IsNotFound(status) ? status.code() : absl::StatusCode::kDataLoss;
  return absl::Status(code, absl::StrCat(path.string(), ": ", status.message()));
}

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

absl::StatusOr<std::string> ReadText(const std::filesystem::path& path) {
  const absl::StatusOr<std::shared_ptr<const MappedFile>> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  return std::string(reinterpret_cast<const char*>((*file)->bytes().data()), (*file)->bytes().size());
}

absl::StatusOr<json> ReadJson(const std::filesystem::path& path) {
  const absl::StatusOr<std::string> text = ReadText(path);
  if (!text.ok()) return text.status();
  json value = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return absl::DataLossError("not a JSON object");
  return value;
}

// Members of JSON objects; a member of another type counts as missing.
const json& Member(const json& object, const char* name) {
  static const json& null = *new json();
  const auto found = object.find(name);
  return object.is_object() && found != object.end() ? *found : null;
}
bool Flag(const json& object, const char* name, bool fallback) {
  const json& member = Member(object, name);
  return member.is_boolean() ? member.get<bool>() : fallback;
}
std::string Text(const json& object, const char* name, const std::string& fallback) {
  const json& member = Member(object, name);
  return member.is_string() ? member.get<std::string>() : fallback;
}

// strip_accents may be null: it then follows lowercase.
void ReadNormalizer(const json& from, const char* lowercase, const char* split_cjk, WordPieceVocabulary* vocabulary) {
  vocabulary->lowercase = Flag(from, lowercase, true);
  vocabulary->strip_accents = Flag(from, "strip_accents", vocabulary->lowercase);
  vocabulary->split_cjk = Flag(from, split_cjk, true);
  vocabulary->clean_text = Flag(from, "clean_text", true);
}

absl::Status ReadVocabulary(const json& pieces, std::vector<std::string>* tokens) {
  if (!pieces.is_object() || pieces.empty())
    return absl::DataLossError("model.vocab is not an object of pieces and ids");
  tokens->assign(pieces.size(), "");
  for (const auto& [piece, id] : pieces.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= pieces.size() || !(*tokens)[id.get<uint64_t>()].empty()) {
      return absl::DataLossError(
          absl::StrCat("the id of piece ", Quoted(piece), " is not a number of its own below ", pieces.size()));
    }
    (*tokens)[id.get<uint64_t>()] = piece;
  }
  return absl::OkStatus();
}

// tokenizer.json of the `tokenizers` package.
absl::StatusOr<WordPieceVocabulary> ReadTokenizerJson(const std::filesystem::path& path) {
  const absl::StatusOr<json> root = ReadJson(path);
  if (!root.ok()) return root.status();
  const auto require = [&](const char* part, const char* type) {
    const std::string found = Text(Member(*root, part), "type", "none");
    return found == type ? absl::OkStatus()
                         : absl::UnimplementedError(
                               absl::StrCat(part, " is of type ", Quoted(found), "; Blazon reads ", type, " here"));
  };
  for (const auto& [part, type] : {std::pair("model", "WordPiece"), std::pair("normalizer", "BertNormalizer"),
                                   std::pair("pre_tokenizer", "BertPreTokenizer")}) {
    if (absl::Status status = require(part, type); !status.ok()) return status;
  }
  const json& model = Member(*root, "model");
  WordPieceVocabulary vocabulary;
  if (absl::Status status = ReadVocabulary(Member(model, "vocab"), &vocabulary.tokens); !status.ok()) return status;
  vocabulary.unknown = Text(model, "unk_token", vocabulary.unknown);
  vocabulary.continuation_prefix = Text(model, "continuing_subword_prefix", vocabulary.continuation_prefix);
  const json& longest = Member(model, "max_input_chars_per_word");
  if (longest.is_number_unsigned())
    vocabulary.max_word_characters = static_cast<int64_t>(std::min<uint64_t>(longest.get<uint64_t>(), INT32_MAX));
  ReadNormalizer(Member(*root, "normalizer"), "lowercase", "handle_chinese_chars", &vocabulary);
  vocabulary.special.clear();
  for (const json& added : Member(*root, "added_tokens")) {
    const json& id = Member(added, "id");
    const std::string content = Text(added, "content", "");
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= vocabulary.tokens.size() ||
        vocabulary.tokens[id.get<uint64_t>()] != content) {
      return absl::UnimplementedError(absl::StrCat("added token ", Quoted(content), " lies outside the vocabulary"));
    }
    if (!Flag(added, "special", false) || Flag(added, "normalized", false)) {
      return absl::UnimplementedError(absl::StrCat("added token ", Quoted(content), " is not a plain control token"));
    }
    vocabulary.special.push_back(content);
  }
  return vocabulary;
}

// vocab.txt, one piece a line, and the older tokenizer_config.json where there is one.
absl::StatusOr<WordPieceVocabulary> ReadVocabTxt(const std::filesystem::path& path) {
  const absl::StatusOr<std::string> text = ReadText(path);
  if (!text.ok()) return text.status();
  WordPieceVocabulary vocabulary;
  for (size_t begin = 0; begin < text->size();) {
    const size_t end = std::min(text->find('\n', begin), text->size());
    const size_t length = end - begin - (end > begin && (*text)[end - 1] == '\r' ? 1 : 0);
    vocabulary.tokens.push_back(text->substr(begin, length));
    begin = end + 1;
  }
  const std::filesystem::path config_path = path.parent_path() / "tokenizer_config.json";
  if (Exists(config_path)) {
    const absl::StatusOr<json> config = ReadJson(config_path);
    if (!config.ok()) return AtFile(config_path, config.status());
    ReadNormalizer(*config, "do_lower_case", "tokenize_chinese_chars", &vocabulary);
    vocabulary.unknown = Text(*config, "unk_token", vocabulary.unknown);
  }
  return vocabulary;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BytePairTokenizer>> LoadGgufTokenizer(const GgufFile& file) {
  const absl::StatusOr<std::string_view> model = file.String("tokenizer.ggml.model");
  if (!model.ok()) return AtFile(file.path(), model.status());
  if (*model != "gpt2") {
    return absl::UnimplementedError(absl::StrCat(file.path().string(), ": tokenizer model ", Quoted(*model),
                                                 "; Blazon reads byte-level BPE (\"gpt2\")"));
  }
  const absl::StatusOr<std::string_view> pre = file.String("tokenizer.ggml.pre");
  if (!pre.ok()) return AtFile(file.path(), pre.status());
  BytePairVocabulary vocabulary;
  if (*pre == "smollm") {
    vocabulary.pre_tokenizer = PreTokenizer::kSmolLm;
  } else if (*pre == "gpt-2") {
    vocabulary.pre_tokenizer = PreTokenizer::kGpt2;
  } else {
    return absl::UnimplementedError(absl::StrCat(file.path().string(), ": pre-tokeniser ", Quoted(*pre),
                                                 "; Blazon knows \"smollm\" and \"gpt-2\""));
  }
  if (file.Has("tokenizer.ggml.add_space_prefix") && file.Bool("tokenizer.ggml.add_space_prefix").value_or(true)) {
    return absl::UnimplementedError(
        absl::StrCat(file.path().string(), ": a tokenizer that puts a space before the text is not read"));
  }

  const absl::StatusOr<std::vector<std::string_view>> tokens = file.Strings("tokenizer.ggml.tokens");
  if (!tokens.ok()) return AtFile(file.path(), tokens.status());
  const absl::StatusOr<std::vector<int64_t>> types = file.Integers("tokenizer.ggml.token_type");
  if (!types.ok()) return AtFile(file.path(), types.status());
  const absl::StatusOr<std::vector<std::string_view>> merges = file.Strings("tokenizer.ggml.merges");
  if (!merges.ok()) return AtFile(file.path(), merges.status());

  vocabulary.tokens.assign(tokens->begin(), tokens->end());
  for (const int64_t type : *types) vocabulary.special.push_back(type == kControlType || type == kUnknownType);
  for (const std::string_view merge : *merges) {
    const size_t space = merge.find(' ');  // the byte alphabet has no space
    if (space == std::string_view::npos)
      return absl::DataLossError(absl::StrCat(file.path().string(), ": merge ", Quoted(merge), " has no space"));
    vocabulary.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  absl::StatusOr<std::unique_ptr<BytePairTokenizer>> tokenizer = BytePairTokenizer::Create(vocabulary);
  if (!tokenizer.ok()) return AtFile(file.path(), tokenizer.status());
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<WordPieceTokenizer>> LoadWordPieceTokenizer(const std::filesystem::path& folder) {
  std::filesystem::path path = folder / "tokenizer.json";
  const bool has_json = Exists(path);
  if (!has_json) path = folder / "vocab.txt";
  if (!Exists(path)) {
    return absl::NotFoundError(absl::StrCat(folder.string(), " has neither tokenizer.json nor vocab.txt"));
  }
  absl::StatusOr<WordPieceVocabulary> vocabulary = has_json ? ReadTokenizerJson(path) : ReadVocabTxt(path);
  if (!vocabulary.ok()) return AtFile(path, vocabulary.status());
  absl::StatusOr<std::unique_ptr<WordPieceTokenizer>> tokenizer = WordPieceTokenizer::Create(*std::move(vocabulary));
  if (!tokenizer.ok()) return AtFile(path, tokenizer.status());
  return tokenizer;
}

}  // namespace blazon::service
