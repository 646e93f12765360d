#include "service/hub/repository.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace blazon::service::hub {
namespace {

using nlohmann::json;

constexpr size_t kMaxNameBytes = 96;      // of an organisation or a model: the hub's own limit
constexpr size_t kMaxFiles = 100000;      // of a repository
constexpr int64_t kMaxBytes = 1LL << 50;  // of a file: a pebibyte

std::string Shown(absl::string_view text) { return absl::Utf8SafeCHexEscape(std::string(text.substr(0, 200))); }

absl::Status CheckRepository(absl::string_view repository) {
  const std::vector<absl::string_view> parts = absl::StrSplit(repository, '/');
  bool good = parts.size() <= 2;
  for (const absl::string_view part : parts) {
    good = good && !part.empty() && part.size() <= kMaxNameBytes && !absl::StrContains(part, "--") &&
           !absl::StrContains(part, "..") && !absl::StrContains("-.", part.front()) &&
           !absl::StrContains("-.", part.back()) && std::all_of(part.begin(), part.end(), [](char c) {
             return absl::ascii_isalnum(c) || absl::StrContains("-._", c);
           });
  }
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "'", Shown(repository),
      "' is no name of a model on a hub: it must be NAME or ORGANISATION/NAME, of letters, digits, '-', '_' and '.'"));
}

bool IsHex(absl::string_view text, size_t digits) {
  return text.size() == digits &&
         std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
}

std::string Text(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

absl::Status Wrong(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the hub's answer about the model is not as the hub gives it: ", what,
                                          ". Check --endpoint and HF_ENDPOINT."));
}

absl::StatusOr<HubFile> ParseFile(const json& sibling) {
  HubFile file;
  if (!sibling.is_object()) return Wrong("a file is no object");
  file.name = Text(sibling, "rfilename");
  if (absl::Status status = CheckRelativePath(file.name); !status.ok()) return status;
  const auto lfs = sibling.find("lfs");
  const bool large = lfs != sibling.end() && lfs->is_object();
  const json& sized = large ? *lfs : sibling;
  const auto size = sized.find("size");
  file.digest.kind = large ? ContentDigest::Kind::kSha256 : ContentDigest::Kind::kGitBlob;
  file.digest.hex = large ? Text(*lfs, "sha256") : Text(sibling, "blobId");
  if (size == sized.end() || !size->is_number_integer() || size->get<int64_t>() < 0 ||
      size->get<int64_t>() > kMaxBytes) {
    return Wrong(absl::StrCat("it gives no size of ", Shown(file.name)));
  }
  file.bytes = size->get<int64_t>();
  if (!IsHex(file.digest.hex, large ? 64 : 40)) return Wrong(absl::StrCat("it gives no digest of ", Shown(file.name)));
  return file;
}

// A file that stands where another one needs a folder, or twice.
absl::Status CheckTree(const std::vector<HubFile>& files) {
  std::set<std::string> names;
  for (const HubFile& file : files) {
    if (!names.insert(file.name).second) return Wrong(absl::StrCat(Shown(file.name), " stands in it twice"));
  }
  for (const HubFile& file : files) {
    for (size_t slash = file.name.find('/'); slash != std::string::npos; slash = file.name.find('/', slash + 1)) {
      if (!names.contains(file.name.substr(0, slash))) continue;
      return Wrong(absl::StrCat(Shown(file.name.substr(0, slash)), " is a file and a folder"));
    }
  }
  return absl::OkStatus();
}

// As it is printed: escaped, since a card is input from elsewhere.
void ReadLicence(const json& model, HubModel& result) {
  const auto card = model.find("cardData");
  if (card != model.end() && card->is_object()) {
    const auto licence = card->find("license");
    if (licence != card->end() && licence->is_string()) result.licence = licence->get<std::string>();
    if (licence != card->end() && licence->is_array() && !licence->empty() && licence->front().is_string()) {
      result.licence = licence->front().get<std::string>();
    }
    const std::string name = Text(*card, "license_name");
    if (!name.empty()) absl::StrAppend(&result.licence, result.licence.empty() ? "" : " ", "(", name, ")");
    result.licence = Shown(result.licence);
    result.licence_link = Shown(Text(*card, "license_link"));
  }
  const auto tags = model.find("tags");
  if (!result.licence.empty() || tags == model.end() || !tags->is_array()) return;
  for (const json& tag : *tags) {
    if (tag.is_string() && absl::StartsWith(tag.get<std::string>(), "license:")) {
      result.licence = Shown(tag.get<std::string>().substr(absl::string_view("license:").size()));
      return;
    }
  }
}

}  // namespace

absl::StatusOr<ModelReference> ParseModelReference(absl::string_view text) {
  ModelReference reference;
  absl::string_view rest = text;
  if (const size_t colon = rest.find(':'); colon != absl::string_view::npos) {
    reference.file = std::string(rest.substr(colon + 1));
    if (absl::Status status = CheckRelativePath(reference.file); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "': ", status.message()));
    }
    rest = rest.substr(0, colon);
  }
  if (const size_t at = rest.find('@'); at != absl::string_view::npos) {
    reference.revision = std::string(rest.substr(at + 1));
    if (absl::Status status = CheckRelativePath(reference.revision); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "': ", status.message()));
    }
    rest = rest.substr(0, at);
  }
  if (absl::Status status = CheckRepository(rest); !status.ok()) return status;
  reference.repository = std::string(rest);
  return reference;
}

absl::Status CheckRelativePath(absl::string_view path) {
  const auto refuse = [&](absl::string_view why) {
    return absl::DataLossError(absl::StrCat("'", Shown(path), "' is refused as a name below a folder: ", why));
  };
  if (path.empty()) return refuse("it is empty");
  if (path.size() > 1024) return refuse("it has more than 1,024 bytes");
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty()) return refuse("it begins or ends with '/', or has two in a row");
    if (part == "." || part == "..") return refuse("'.' and '..' lead elsewhere");
    if (part.size() > 255) return refuse("a part of it has more than 255 bytes");
  }
  for (const char c : path) {
    if (absl::ascii_iscntrl(c) || c == '\\') return refuse("it has a control character or a backslash");
  }
  return absl::OkStatus();
}

bool IsCommit(absl::string_view text) { return IsHex(text, 40); }

absl::StatusOr<HubModel> ParseModel(const ModelReference& reference, absl::string_view text) {
  bool too_deep = false;
  const json model = json::parse(
      text,
      [&](int at, json::parse_event_t, json&) {
        too_deep = too_deep || at > 100;
        return !too_deep;
      },
      /*allow_exceptions=*/false);
  if (too_deep || !model.is_object()) return Wrong("it is no JSON object");
  HubModel result;
  result.repository = reference.repository;
  result.revision = reference.revision;
  result.commit = Text(model, "sha");
  if (!IsCommit(result.commit)) return Wrong("it has no commit (sha)");
  if (IsCommit(reference.revision) && result.commit != reference.revision) {
    return Wrong(absl::StrCat("it is of commit ", result.commit, ", not of the one that was asked for"));
  }
  const auto gated = model.find("gated");
  result.gated = gated != model.end() && !gated->is_null() && *gated != false;
  ReadLicence(model, result);
  const auto siblings = model.find("siblings");
  if (siblings == model.end() || !siblings->is_array()) return Wrong("it has no list of files (siblings)");
  if (siblings->size() > kMaxFiles) return Wrong("it lists more than 100,000 files");
  for (const json& sibling : *siblings) {
    absl::StatusOr<HubFile> file = ParseFile(sibling);
    if (!file.ok()) return file.status();
    result.files.push_back(*std::move(file));
  }
  if (absl::Status status = CheckTree(result.files); !status.ok()) return status;
  return result;
}

}  // namespace blazon::service::hub
