// Pages of a list that is at hand in full and in order of its names.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {

inline constexpr int kDefaultPageSize = 100;
inline constexpr int kMaxPageSize = 1000;

// 0 is the default; below it or above the maximum is an error.
inline absl::StatusOr<int> PageSize(int asked) {
  if (asked < 0 || asked > kMaxPageSize)
    return FieldError("page_size", absl::StrCat("is ", asked, "; its range is 0 to ", kMaxPageSize));
  return asked == 0 ? kDefaultPageSize : asked;
}

template <typename T>
struct Page {
  std::vector<T> items;
  // The name of the last item: a list that changes between pages loses and repeats nothing else.
  std::string next_page_token;
};

// `items` are sorted by `name_of`; `token` is empty or the last page's.
template <typename T, typename NameOf>
absl::StatusOr<Page<T>> TakePage(const std::vector<T>& items, int page_size, const std::string& token, NameOf name_of) {
  absl::StatusOr<int> size = PageSize(page_size);
  if (!size.ok()) return size.status();
  auto first = token.empty()
                   ? items.begin()
                   : std::find_if(items.begin(), items.end(), [&](const T& item) { return name_of(item) > token; });
  const auto last = std::distance(first, items.end()) > *size ? first + *size : items.end();
  Page<T> page{{first, last}, ""};
  if (last != items.end()) page.next_page_token = name_of(page.items.back());
  return page;
}

}  // namespace blazon::service::rpc
