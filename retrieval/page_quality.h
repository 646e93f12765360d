// Whether a page's text is text: what a PDF without proper fonts, or a recogniser without a clue, gives is not.
//
// Thread safety: all functions may run together.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace blazon::retrieval {

// What is wrong with a page's text (UTF-8), in words that follow "page 3 "; empty when nothing is. A page of which a
// twentieth or more of the visible characters are replacement, control or private-use characters, or whose words run
// together (more than 40 letters a word on average, in scripts that put spaces between words), is at fault.
std::string_view PageFault(std::string_view text);

// "page 3", "pages 3 to 7 and 9": ascending numbers, at least one.
std::string PageList(const std::vector<int>& pages);

}  // namespace blazon::retrieval
