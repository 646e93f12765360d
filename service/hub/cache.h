// The hub's usual cache folder, shared with its public Python client: neither fetches what the other one has.
//
//   CACHE/models--org--name/blobs/DIGEST                       contents, named by SHA-256 or git-blob SHA-1
//                           refs/REVISION                      a text file: the commit that a branch or tag stood at
//                           snapshots/COMMIT/FILE              relative symbolic links to blobs
//   CACHE/.locks/models--org--name/DIGEST.lock                 held (flock) while a blob is fetched
//
// (huggingface_hub's guide "Understand caching".) Nothing here uses the network.
//
// Thread safety: const, and any number of processes may work on one cache: blobs and refs appear by rename.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/hub/repository.h"

namespace blazon::service::hub {

class Cache {
 public:
  // `folder` need not exist; it is made when something is put there.
  explicit Cache(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Where the environment has it, as `get` reads it (std::getenv): HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub,
  // XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub; the first that is set. A leading "~/" is the home folder.
  static Cache FromEnvironment(const std::function<const char*(const char*)>& get);

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path RepositoryFolder(const std::string& repository) const;
  std::filesystem::path Blob(const std::string& repository, const ContentDigest& digest) const;
  std::filesystem::path Snapshot(const std::string& repository, const std::string& commit) const;

  // The snapshot of `reference`, or the file that it names in it. kNotFound: it was never fetched; the message says how
  // to.
  absl::StatusOr<std::filesystem::path> Find(const ModelReference& reference) const;

  // Links `file` of a snapshot to its blob, which must be there. What stands there in its place is replaced; a link in
  // place of a folder below the snapshot is refused, so that no file comes to stand outside of it.
  absl::Status Link(const std::string& repository, const std::string& commit, const HubFile& file) const;

  // Notes that `revision` stands at `commit`. Nothing to do where it is the commit itself.
  absl::Status WriteRef(const std::string& repository, const std::string& revision, const std::string& commit) const;

  // Makes the folders of a repository and the cache's CACHEDIR.TAG, by which backup programs know to leave it out.
  absl::Status Prepare(const std::string& repository) const;

 private:
  std::filesystem::path folder_;
};

// What --model and `models inspect` take: `path` itself where something is there or where it does not have the form of
// a ModelReference; otherwise what Cache::Find finds. kNotFound: neither; the message names both places.
absl::StatusOr<std::filesystem::path> FindModel(const std::filesystem::path& path, const Cache& cache);

}  // namespace blazon::service::hub
