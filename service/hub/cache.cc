#include "service/hub/cache.h"

#include <unistd.h>

#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "service/hub/environment.h"
#include "service/hub/file_error.h"

namespace blazon::service::hub {
namespace {

namespace fs = std::filesystem;

// https://bford.info/cachedir/
constexpr absl::string_view kCacheTag =
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder holds models from a hub; backup programs may leave it out.\n";

std::string ReadSmall(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

// Beside the target first, so that a reader sees the old or the new whole.
absl::Status WriteByRename(const fs::path& path, absl::string_view text) {
  const fs::path temporary = absl::StrCat(path.string(), ".", getpid(), ".tmp");
  {
    std::ofstream file(temporary, std::ios::binary);
    file << text << std::flush;
    if (!file) return FileError("write", temporary, errno);
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) return FileError("rename", temporary, errno);
  return absl::OkStatus();
}

absl::Status MakeFolders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return FileError("make the folder", folder, error.value());
  return absl::OkStatus();
}

}  // namespace

Cache Cache::FromEnvironment(const std::function<const char*(const char*)>& get) {
  const Environment environment(get);
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (fs::path folder = environment.Path(name); !folder.empty()) return Cache(std::move(folder));
  }
  return Cache(environment.HubHome() / "hub");
}

fs::path Cache::RepositoryFolder(const std::string& repository) const {
  return folder_ / absl::StrCat("models--", absl::StrReplaceAll(repository, {{"/", "--"}}));
}

fs::path Cache::Blob(const std::string& repository, const ContentDigest& digest) const {
  return RepositoryFolder(repository) / "blobs" / digest.hex;
}

fs::path Cache::Snapshot(const std::string& repository, const std::string& commit) const {
  return RepositoryFolder(repository) / "snapshots" / commit;
}

absl::StatusOr<fs::path> Cache::Find(const ModelReference& reference) const {
  std::string commit = reference.revision;
  if (!IsCommit(commit)) commit = ReadSmall(RepositoryFolder(reference.repository) / "refs" / reference.revision);
  std::error_code error;
  fs::path found;
  if (IsCommit(commit)) found = Snapshot(reference.repository, commit);
  if (!reference.file.empty()) found /= reference.file;
  if (!IsCommit(commit) || !fs::exists(found, error)) {
    const std::string revision = reference.revision == "main" ? "" : absl::StrCat("@", reference.revision);
    const std::string named =
        absl::StrCat(reference.repository, revision, reference.file.empty() ? "" : ":", reference.file);
    return absl::NotFoundError(absl::StrCat(named, " is not in the hub's cache ", folder_.string(),
                                            "; fetch it with 'blazon models pull ", named, "'"));
  }
  return found;
}

absl::Status Cache::Link(const std::string& repository, const std::string& commit, const HubFile& file) const {
  const fs::path snapshot = Snapshot(repository, commit);
  fs::path folder = snapshot, to_blobs = "../../blobs";
  if (absl::Status status = MakeFolders(folder); !status.ok()) return status;
  const std::vector<std::string> parts = absl::StrSplit(file.name, '/');
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    folder /= parts[i];
    to_blobs = ".." / to_blobs;
    std::error_code error;
    fs::create_directory(folder, error);
    if (fs::symlink_status(folder, error).type() != fs::file_type::directory) {
      return absl::FailedPreconditionError(absl::StrCat(folder.string(), " stands in the way: ", file.name,
                                                        " needs a folder there. Remove it and try again."));
    }
  }
  // Under another name first: a reader finds the old or the new, never nothing.
  const fs::path link = folder / parts.back(), temporary = absl::StrCat(link.string(), ".", getpid(), ".tmp");
  const fs::path target = to_blobs / file.digest.hex;
  std::error_code error;
  if (fs::read_symlink(link, error) == target) return absl::OkStatus();
  unlink(temporary.c_str());
  if (symlink(target.c_str(), temporary.c_str()) != 0) return FileError("link", temporary, errno);
  if (rename(temporary.c_str(), link.c_str()) != 0) {
    const int reason = errno;
    unlink(temporary.c_str());
    return FileError("link", link, reason);
  }
  return absl::OkStatus();
}

absl::Status Cache::WriteRef(const std::string& repository, const std::string& revision,
                             const std::string& commit) const {
  if (revision == commit) return absl::OkStatus();
  const fs::path ref = RepositoryFolder(repository) / "refs" / revision;
  if (absl::Status status = MakeFolders(ref.parent_path()); !status.ok()) return status;
  if (ReadSmall(ref) == commit) return absl::OkStatus();
  return WriteByRename(ref, commit);
}

absl::Status Cache::Prepare(const std::string& repository) const {
  if (absl::Status status = MakeFolders(RepositoryFolder(repository) / "blobs"); !status.ok()) return status;
  std::error_code error;
  if (fs::exists(folder_ / "CACHEDIR.TAG", error)) return absl::OkStatus();
  return WriteByRename(folder_ / "CACHEDIR.TAG", kCacheTag);
}

absl::StatusOr<fs::path> FindModel(const fs::path& path, const Cache& cache) {
  std::error_code error;
  if (path.empty() || fs::exists(path, error)) return path;
  const absl::StatusOr<ModelReference> reference = ParseModelReference(path.string());
  if (!reference.ok()) return path;
  absl::StatusOr<fs::path> found = cache.Find(*reference);
  if (found.ok()) return found;
  return absl::NotFoundError(
      absl::StrCat("there is no file or folder ", path.string(), ", and ", found.status().message()));
}

}  // namespace blazon::service::hub
