#include "service/training/picture_texts.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "service/checkpoint/quoted.h"
#include "service/training/csv.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

absl::StatusOr<std::string> Contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat(path.string(), " cannot be read"));
  return std::string{std::istreambuf_iterator<char>(in), {}};
}

// A member as text: a string, or a whole number spelled out; "" when it is neither.
std::string Member(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  return found->is_number_integer() ? found->dump() : "";
}

// What most people said; of equally many, what was said first.
std::string MostFrequent(const json& answers) {
  std::vector<std::pair<std::string, int>> counts;
  for (const json& each : answers) {
    const std::string text = each.is_string()   ? each.get<std::string>()
                             : each.is_object() ? Member(each, "answer")
                                                : "";
    const auto known =
        std::find_if(counts.begin(), counts.end(), [&](const auto& count) { return count.first == text; });
    if (known == counts.end()) {
      counts.emplace_back(text, 1);
    } else {
      ++known->second;
    }
  }
  const auto best =
      std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return best == counts.end() ? "" : best->first;
}

// Gathers the texts of one source.
class PictureTextReader {
 public:
  explicit PictureTextReader(fs::path file) : file_(std::move(file)) {}

  absl::Status ReadFolder() {
    for (const fs::path& picture : PicturesBelow(file_)) {
      const fs::path beside = fs::path(picture).replace_extension(".txt");
      std::ifstream text(beside);
      std::string line;
      std::getline(text, line);
      line = std::string(absl::StripAsciiWhitespace(line));
      if (line.empty()) {
        ++result_.without_text;
        continue;
      }
      if (absl::Status status = Add(picture, "", line, beside.string()); !status.ok()) return status;
    }
    if (!result_.texts.empty()) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat(
        file_.string(), " holds no picture with a caption beside it (cat.jpg and cat.txt); pictures without one: ",
        result_.without_text));
  }

  absl::Status ReadCsv() {
    const absl::StatusOr<std::string> text = Contents(file_);
    if (!text.ok()) return text.status();
    const auto rows = ParseCsv(*text);
    if (!rows.ok()) return Wrong("", std::string(rows.status().message()));
    if (rows->empty()) return Wrong("", "it is empty");
    const std::vector<std::string>& names = (*rows)[0];
    for (size_t row = 1; row < rows->size(); ++row) {
      const std::vector<std::string>& fields = (*rows)[row];
      const std::string where = absl::StrCat(", row ", row);
      if (fields.size() != names.size())
        return Wrong(where, absl::StrCat("it has ", fields.size(), " fields, and the header ", names.size()));
      json object;
      for (size_t i = 0; i < names.size(); ++i) object[names[i]] = fields[i];
      if (absl::Status status = AddObject(object, where); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status ReadLines() {
    const absl::StatusOr<std::string> text = Contents(file_);
    if (!text.ok()) return text.status();
    int64_t number = 0;
    for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
      ++number;
      if (absl::StripAsciiWhitespace(line).empty()) continue;
      const std::string where = absl::StrCat(":", number);
      const json object = json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
      if (!object.is_object()) return Wrong(where, "the line is no JSON object");
      if (absl::Status status = AddObject(object, where); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // annotations: of VQA, apart; empty: none.
  absl::Status ReadJson(const fs::path& annotations) {
    const absl::StatusOr<json> whole = Parse(file_);
    if (!whole.ok()) return whole.status();
    if (whole->contains("questions")) {
      if (annotations.empty() && !whole->contains("annotations"))
        return Wrong("", "it has questions; name its annotations behind a comma: QUESTIONS.json,ANNOTATIONS.json");
      const absl::StatusOr<json> answers = annotations.empty() ? Parse(file_) : Parse(annotations);
      if (!answers.ok()) return answers.status();
      return AddQuestions(*whole, *answers);
    }
    if (!whole->contains("annotations"))
      return Wrong("", "it has neither \"annotations\" (COCO captions) nor \"questions\" (VQA)");
    return AddCaptions(*whole);
  }

  absl::StatusOr<PictureTexts> Finish() {
    if (!result_.texts.empty()) return std::move(result_);
    return absl::NotFoundError(absl::StrCat(file_.string(), ": there is nothing to be learned in it"));
  }

 private:
  absl::Status Wrong(const std::string& where, const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(file_.string(), where, ": ", what));
  }

  static absl::StatusOr<json> Parse(const fs::path& path) {
    const absl::StatusOr<std::string> text = Contents(path);
    if (!text.ok()) return text.status();
    json parsed = json::parse(*text, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object()) return absl::InvalidArgumentError(absl::StrCat(path.string(), ": it is no JSON object"));
    return parsed;
  }

  absl::Status Add(const fs::path& picture, std::string question, std::string text, const std::string& where) {
    const std::pair<const char*, const std::string*> checked[] = {{"question", &question},
                                                                  {question.empty() ? "caption" : "answer", &text}};
    for (const auto& [what, value] : checked) {
      if (static_cast<int64_t>(value->size()) <= kLongestPictureText) continue;
      return absl::InvalidArgumentError(absl::StrCat(where, ": the ", what, " has ", value->size(),
                                                     " bytes; the limit is ", kLongestPictureText, "; shorten it"));
    }
    const auto [place, is_new] = index_.emplace(picture.string(), result_.pictures.size());
    if (is_new) result_.pictures.push_back(picture);
    result_.texts.push_back({place->second, std::move(question), std::move(text)});
    return absl::OkStatus();
  }

  // A row or a line.
  absl::Status AddObject(const json& object, const std::string& where) {
    std::string picture;
    for (const char* name : {"picture", "image", "file"}) {
      if (picture.empty()) picture = Member(object, name);
    }
    if (picture.empty()) return Wrong(where, "no picture is named in \"picture\", \"image\" or \"file\"");
    const fs::path path = file_.parent_path() / picture;
    std::error_code error;
    if (!fs::is_regular_file(path, error))
      return absl::NotFoundError(absl::StrCat(file_.string(), where, ": there is no picture ", path.string()));
    const std::string question = Member(object, "question");
    std::string text;
    if (!question.empty()) {
      text = object.contains("answers") && object["answers"].is_array() ? MostFrequent(object["answers"])
                                                                        : Member(object, "answer");
      if (text.empty()) return Wrong(where, "the question has no \"answer\"");
    } else {
      for (const char* name : {"caption", "text"}) {
        if (text.empty()) text = Member(object, name);
      }
      if (text.empty())
        return Wrong(where, "it has neither a \"caption\" (or \"text\") nor a \"question\" and its \"answer\"");
    }
    return Add(path, question, text, absl::StrCat(file_.string(), where));
  }

  absl::Status AddCaptions(const json& coco) {
    std::map<std::string, std::string> names;  // of pictures, by id
    for (const json& image : coco.value("images", json::array())) {
      if (image.is_object()) names[Member(image, "id")] = Member(image, "file_name");
    }
    const std::map<std::string, fs::path> by_name = PicturesByName();
    int64_t entry = 0;
    for (const json& annotation : coco["annotations"]) {
      const std::string where = absl::StrCat(", annotation ", entry++);
      if (!annotation.is_object()) return Wrong(where, "it is no object");
      const auto name = names.find(Member(annotation, "image_id"));
      if (name == names.end() || name->second.empty())
        return Wrong(where, absl::StrCat("\"images\" has no file_name for image_id ", Member(annotation, "image_id")));
      const std::string caption(absl::StripAsciiWhitespace(Member(annotation, "caption")));
      if (caption.empty()) return Wrong(where, "it has no \"caption\"");
      const auto found = by_name.find(fs::path(name->second).filename().string());
      if (found == by_name.end()) return NoPicture(where, name->second);
      if (absl::Status status = Add(found->second, "", caption, absl::StrCat(file_.string(), where)); !status.ok())
        return status;
    }
    return absl::OkStatus();
  }

  absl::Status AddQuestions(const json& questions, const json& annotations) {
    std::map<std::string, std::string> answers;  // by question_id
    for (const json& annotation : annotations.value("annotations", json::array())) {
      if (!annotation.is_object()) continue;
      std::string answer = Member(annotation, "multiple_choice_answer");
      if (answer.empty() && annotation.contains("answers")) answer = MostFrequent(annotation["answers"]);
      answers[Member(annotation, "question_id")] = answer;
    }
    // COCO's files are named COCO_train2014_000000000009.jpg.
    std::map<std::string, fs::path> by_id;
    for (const auto& [name, path] : PicturesByName()) {
      const std::string stem = fs::path(name).stem().string();
      size_t begin = stem.size();
      while (begin > 0 && std::isdigit(static_cast<unsigned char>(stem[begin - 1])) != 0) --begin;
      const size_t digits = std::min(stem.find_first_not_of('0', begin), stem.size());
      if (begin < stem.size()) by_id[digits == stem.size() ? "0" : stem.substr(digits)] = path;
    }
    int64_t entry = 0;
    for (const json& question : questions["questions"]) {
      const std::string where = absl::StrCat(", question ", entry++);
      if (!question.is_object()) return Wrong(where, "it is no object");
      const std::string id = Member(question, "question_id"), asked = Member(question, "question");
      if (asked.empty()) return Wrong(where, "it has no \"question\"");
      const auto answer = answers.find(id);
      if (answer == answers.end() || answer->second.empty())
        return Wrong(where, absl::StrCat("the annotations have no answer for question_id ", id));
      const auto found = by_id.find(Member(question, "image_id"));
      if (found == by_id.end()) return NoPicture(where, absl::StrCat("*", Member(question, "image_id"), ".jpg"));
      if (absl::Status status = Add(found->second, asked, answer->second, absl::StrCat(file_.string(), where));
          !status.ok())
        return status;
    }
    return absl::OkStatus();
  }

  std::map<std::string, fs::path> PicturesByName() const {
    std::map<std::string, fs::path> pictures;
    const fs::path folder = file_.has_parent_path() ? file_.parent_path() : fs::path(".");
    for (const fs::path& path : PicturesBelow(folder)) pictures.emplace(path.filename().string(), path);
    return pictures;
  }

  absl::Status NoPicture(const std::string& where, const std::string& name) const {
    return absl::NotFoundError(
        absl::StrCat(file_.string(), where, ": there is no picture ", name, " in the file's folder or below it"));
  }

  const fs::path file_;
  PictureTexts result_;
  std::map<std::string, size_t> index_;  // of each picture in the result
};

}  // namespace

std::vector<fs::path> PicturesBelow(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::recursive_directory_iterator place(folder, error), end; !error && place != end; place.increment(error)) {
    if (IsPictureName(place->path())) found.push_back(place->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

bool IsPictureName(const fs::path& path) {
  const std::string ending = absl::AsciiStrToLower(path.extension().string());
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png" || ending == ".webp" || ending == ".bmp";
}

absl::StatusOr<PictureTexts> ReadPictureTexts(const std::string& source) {
  const std::pair<std::string, std::string> files = absl::StrSplit(source, absl::MaxSplits(',', 1));
  std::error_code error;
  const fs::path path = fs::exists(source, error) ? source : files.first;  // a name may hold a comma
  const std::string ending = absl::AsciiStrToLower(path.extension().string());
  PictureTextReader reader(path);
  absl::Status status;
  if (fs::is_directory(path, error)) {
    status = reader.ReadFolder();
  } else if (!fs::exists(path, error)) {
    status = absl::NotFoundError(absl::StrCat(path.string(), " is not there"));
  } else if (ending == ".csv") {
    status = reader.ReadCsv();
  } else if (ending == ".jsonl") {
    status = reader.ReadLines();
  } else if (ending == ".json") {
    status = reader.ReadJson(path == files.first ? files.second : "");
  } else {
    status = absl::InvalidArgumentError(
        absl::StrCat(path.string(), " is no folder, .csv, .jsonl or .json file; captions are read from those"));
  }
  if (!status.ok()) return status;
  return reader.Finish();
}

}  // namespace blazon::service
