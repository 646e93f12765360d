#include "service/training/reading_set.h"

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::service {
namespace {

using nlohmann::json;

// The text of a member; an error names it.
absl::StatusOr<std::string> Text(const json& object, const char* name) {
  if (!object.contains(name) || !object[name].is_string() || object[name].get_ref<const std::string&>().empty())
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is missing, empty or no string"));
  return object[name].get<std::string>();
}

absl::StatusOr<std::vector<std::string>> Texts(const json& object, const char* name) {
  const absl::Status wrong = absl::InvalidArgumentError(absl::StrCat("\"", name, "\" must be a list of strings"));
  if (!object.contains(name) || !object[name].is_array()) return wrong;
  std::vector<std::string> texts;
  for (const json& text : object[name]) {
    if (!text.is_string() || text.get_ref<const std::string&>().empty()) return wrong;
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

absl::StatusOr<ReadingDocument> ParseLine(const std::string& line) {
  const json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return absl::InvalidArgumentError("the line is no JSON object");
  ReadingDocument document;
  absl::StatusOr<std::string> title = Text(value, "title");
  if (!title.ok()) return title.status();
  document.title = *std::move(title);
  absl::StatusOr<std::vector<std::string>> sentences = Texts(value, "sentences");
  if (!sentences.ok()) return sentences.status();
  if (sentences->empty()) return absl::InvalidArgumentError("\"sentences\" is empty");
  document.sentences = *std::move(sentences);
  if (!value.contains("questions") || !value["questions"].is_array())
    return absl::InvalidArgumentError("\"questions\" must be a list");
  for (const json& entry : value["questions"]) {
    if (!entry.is_object()) return absl::InvalidArgumentError("an entry of \"questions\" is no object");
    ReadingQuestion question;
    absl::StatusOr<std::string> text = Text(entry, "q"), answer = Text(entry, "a");
    if (!text.ok()) return text.status();
    if (!answer.ok()) return answer.status();
    question.text = *std::move(text);
    question.answer = *std::move(answer);
    if (!entry.contains("s") || !entry["s"].is_number_integer())
      return absl::InvalidArgumentError(absl::StrCat("\"s\" of \"", question.text, "\" is missing or no integer"));
    question.sentence = entry["s"].get<int64_t>();
    if (question.sentence < 0 || question.sentence >= std::ssize(document.sentences)) {
      return absl::InvalidArgumentError(absl::StrCat("\"s\" of \"", question.text, "\" is ", question.sentence,
                                                     "; the document has ", document.sentences.size(),
                                                     " sentences, counted from 0"));
    }
    document.questions.push_back(std::move(question));
  }
  absl::StatusOr<std::vector<std::string>> none = Texts(value, "none");
  if (!none.ok()) return none.status();
  for (std::string& text : *none) document.questions.push_back({std::move(text), -1, ""});
  document.held_out = IsHeldOut(document.title);
  return document;
}

}  // namespace

bool IsHeldOut(const std::string& title) {
  uint64_t hash = 14695981039346656037ULL;
  for (const char c : title) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return hash % 100 < 15;
}

absl::StatusOr<std::vector<ReadingDocument>> ReadReadingSet(const std::vector<std::filesystem::path>& files) {
  std::vector<ReadingDocument> documents;
  std::map<std::string, std::string> seen;  // title -> place
  for (const std::filesystem::path& file : files) {
    std::ifstream stream(file);
    if (!stream) return absl::NotFoundError(absl::StrCat(file.string(), " could not be read"));
    int64_t number = 0;
    for (std::string line; std::getline(stream, line);) {
      const std::string place = absl::StrCat(file.string(), ":", ++number);
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      absl::StatusOr<ReadingDocument> document = ParseLine(line);
      if (!document.ok())
        return absl::InvalidArgumentError(absl::StrCat(place, ": ", std::string(document.status().message())));
      const auto [found, added] = seen.emplace(document->title, place);
      if (!added) {
        return absl::InvalidArgumentError(
            absl::StrCat(place, ": the title \"", document->title, "\" stands in ", found->second, " too"));
      }
      documents.push_back(*std::move(document));
    }
  }
  if (documents.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there is no document in ",
        files.empty() ? "the data: no file was given"
                      : absl::StrJoin(files, ", ", [](std::string* out, const std::filesystem::path& file) {
                          out->append(file.string());
                        })));
  }
  return documents;
}

}  // namespace blazon::service
