#include "service/evaluation/caption_files.h"

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace blazon::service {
namespace {

using nlohmann::json;

struct NamedCaption {
  std::string picture;
  std::string text;
  std::string where;  // "FILE:LINE", for messages
};

struct CaptionFile {
  std::vector<NamedCaption> captions;
  std::map<std::string, std::string> file_names;  // COCO: of each image_id
};

// A string, or a whole number spelled out; "" when there is neither.
std::string NameIn(const json& object, const char* member) {
  const auto found = object.find(member);
  if (found == object.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  return found->is_number_integer() ? found->dump() : "";
}

absl::Status Wrong(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

absl::Status AddCaptions(const json& object, const std::string& where, CaptionFile& file) {
  if (!object.is_object()) return Wrong(where, "an object with a picture and its caption is expected");
  std::string picture;
  for (const char* member : {"file", "id", "image_id"}) {
    // COCO's annotations have an id of their own beside the picture's.
    if (std::string_view(member) == "id" && object.contains("image_id")) continue;
    if (picture = NameIn(object, member); !picture.empty()) break;
  }
  if (picture.empty()) return Wrong(where, "no picture is named in \"file\", \"id\" or \"image_id\"");
  std::vector<const json*> texts;
  if (const auto several = object.find("captions"); several != object.end() && several->is_array()) {
    for (const json& text : *several) texts.push_back(&text);
  } else {
    for (const char* member : {"text", "caption"}) {
      if (texts.empty() && object.contains(member)) texts.push_back(&object[member]);
    }
  }
  if (texts.empty()) return Wrong(where, "no caption stands in \"text\", \"caption\" or \"captions\"");
  for (const json* text : texts) {
    if (!text->is_string()) return Wrong(where, "a caption is no string");
    file.captions.push_back({picture, text->get<std::string>(), where});
  }
  return absl::OkStatus();
}

absl::StatusOr<CaptionFile> ReadCaptionFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat(path.string(), " cannot be read"));
  const std::string contents{std::istreambuf_iterator<char>(in), {}};
  CaptionFile file;
  const json whole = json::parse(contents, nullptr, /*allow_exceptions=*/false);
  if (whole.is_array() || (whole.is_object() && whole.contains("annotations"))) {
    const json& list = whole.is_array() ? whole : whole["annotations"];
    int64_t entry = 0;
    for (const json& object : list) {
      const absl::Status status = AddCaptions(object, absl::StrCat(path.string(), ", entry ", entry++), file);
      if (!status.ok()) return status;
    }
    if (whole.is_object() && whole.contains("images") && whole["images"].is_array()) {
      for (const json& image : whole["images"]) {
        if (!image.is_object()) continue;
        const std::string id = NameIn(image, "id"), name = NameIn(image, "file_name");
        if (!id.empty() && !name.empty()) file.file_names[id] = name;
      }
    }
  } else {
    int64_t number = 0;
    for (const absl::string_view line : absl::StrSplit(contents, '\n')) {
      ++number;
      if (absl::StripAsciiWhitespace(line).empty()) continue;
      const std::string where = absl::StrCat(path.string(), ":", number);
      const json object = json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
      if (object.is_discarded()) return Wrong(where, "the line is no JSON");
      if (const absl::Status status = AddCaptions(object, where, file); !status.ok()) return status;
    }
  }
  if (file.captions.empty()) return Wrong(path.string(), "there is no caption in it");
  return file;
}

std::string LastPart(const std::string& picture) { return std::filesystem::path(picture).filename().string(); }

// Which picture of the references a name means.
class Pictures {
 public:
  void Add(const std::string& name, size_t index) {
    exact_.emplace(name, index);
    by_last_part_[LastPart(name)].insert(index);
  }
  // kInvalidArgument: none or several.
  absl::StatusOr<size_t> Find(const NamedCaption& caption) const {
    if (const auto found = exact_.find(caption.picture); found != exact_.end()) return found->second;
    const auto found = by_last_part_.find(LastPart(caption.picture));
    if (found == by_last_part_.end())
      return Wrong(caption.where, absl::StrCat("'", caption.picture, "' is not among the references"));
    if (found->second.size() > 1) {
      return Wrong(caption.where, absl::StrCat("'", caption.picture, "' could be any of ", found->second.size(),
                                               " pictures of the references; name it as they do"));
    }
    return *found->second.begin();
  }

 private:
  std::map<std::string, size_t> exact_;
  std::map<std::string, std::set<size_t>> by_last_part_;
};

absl::StatusOr<Words> WordsOf(const NamedCaption& caption, bool pretokenized) {
  if (pretokenized) return Words(absl::StrSplit(caption.text, ' ', absl::SkipEmpty()));
  absl::StatusOr<Words> words = CaptionWords(caption.text);
  if (!words.ok()) return Wrong(caption.where, std::string(words.status().message()));
  return words;
}

}  // namespace

absl::StatusOr<CaptionSet> ReadCaptionSet(const std::filesystem::path& candidates,
                                          const std::filesystem::path& references, const CaptionFileOptions& options) {
  absl::StatusOr<CaptionFile> said = ReadCaptionFile(candidates);
  if (!said.ok()) return said.status();
  absl::StatusOr<CaptionFile> written = ReadCaptionFile(references);
  if (!written.ok()) return written.status();

  std::vector<std::vector<Words>> of_picture;
  std::vector<std::string> names;
  std::map<std::string, size_t> index_of;
  Pictures pictures;
  for (const NamedCaption& caption : written->captions) {
    const auto [entry, added] = index_of.emplace(caption.picture, of_picture.size());
    if (added) {
      of_picture.emplace_back();
      names.push_back(caption.picture);
      pictures.Add(caption.picture, entry->second);
      if (const auto file = written->file_names.find(caption.picture); file != written->file_names.end())
        pictures.Add(file->second, entry->second);
    }
    absl::StatusOr<Words> words = WordsOf(caption, options.pretokenized);
    if (!words.ok()) return words.status();
    of_picture[entry->second].push_back(*std::move(words));
  }

  CaptionSet set;
  std::vector<bool> said_of(of_picture.size(), false);
  for (const NamedCaption& caption : said->captions) {
    const absl::StatusOr<size_t> index = pictures.Find(caption);
    if (!index.ok()) return index.status();
    if (said_of[*index])
      return Wrong(caption.where, absl::StrCat("'", caption.picture, "' has a second candidate; keep one"));
    said_of[*index] = true;
    absl::StatusOr<Words> words = WordsOf(caption, options.pretokenized);
    if (!words.ok()) return words.status();
    set.pairs.push_back({caption.picture, *std::move(words), std::move(of_picture[*index])});
  }
  for (size_t i = 0; i < said_of.size(); ++i) {
    if (said_of[i]) continue;
    if (!options.partial) {
      return Wrong(candidates.string(), absl::StrCat("'", names[i], "' of ", references.string(),
                                                     " has no candidate; --partial scores those that have one"));
    }
    ++set.left_out;
  }
  return set;
}

}  // namespace blazon::service
