#include "service/hub/file_error.h"

#include <system_error>

#include "absl/strings/str_cat.h"

namespace blazon::service::hub {

absl::Status FileError(absl::string_view action, const std::filesystem::path& file, int error_number) {
  const std::string message = absl::StrCat("cannot ", action, " ", file.string(), ": ",
                                           std::error_code(error_number, std::generic_category()).message());
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(
          absl::StrCat(message, "; free some space, or choose another folder with HF_HUB_CACHE"));
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(absl::StrCat(message, "; choose another folder with HF_HUB_CACHE"));
    case ENOENT:
      return absl::NotFoundError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace blazon::service::hub
