// Names of models and files on a hub, and what a hub says of a model. All of it is input from elsewhere: names are
// checked here before anything on disk is named after them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace blazon::service::hub {

// "REPO[@REVISION][:FILE]".
struct ModelReference {
  std::string repository;         // "org/name", or "name"
  std::string revision = "main";  // a branch, a tag, a commit, "refs/pr/1"
  std::string file;               // "": what a checkpoint needs
};

// kInvalidArgument: it does not have that form, or a name in it is none; the message says which and why.
absl::StatusOr<ModelReference> ParseModelReference(absl::string_view text);

// A path below a folder, with '/' between its parts: no empty part, none that is "." or "..", no backslash, no control
// character, parts of at most 255 bytes, 1,024 in all. kDataLoss with the name, escaped, where it is not.
absl::Status CheckRelativePath(absl::string_view path);

bool IsCommit(absl::string_view text);  // 40 hexadecimal digits in lower case

// How the hub names the content of a file: the SHA-256 of a large one (LFS), the SHA-1 of git's blob of a small one.
struct ContentDigest {
  enum class Kind { kSha256, kGitBlob };
  Kind kind = Kind::kSha256;
  std::string hex;
};

struct HubFile {
  std::string name;
  int64_t bytes = 0;
  ContentDigest digest;
};

struct HubModel {
  std::string repository, revision;  // as they were asked for
  std::string commit;
  std::string licence;       // the card's: "apache-2.0", "other (gemma)"; "": it states none
  std::string licence_link;  // "": none
  bool gated = false;        // its files are for those who accepted its terms
  std::vector<HubFile> files;
};

// From the hub's answer to /api/models/{repository}/revision/{revision}?blobs=true. kDataLoss: it is not one, or it
// holds a file name, commit or digest that is none.
absl::StatusOr<HubModel> ParseModel(const ModelReference& reference, absl::string_view json);

}  // namespace blazon::service::hub
