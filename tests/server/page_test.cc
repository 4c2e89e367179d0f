// How the chat page's files are answered; what they do is tests/e2e/pages.
#include "server/page.h"

#include <gtest/gtest.h>

#include "base/web_file.h"

namespace onebit::server {
namespace {

TEST(PageTest, TakesGzip) {
  for (const char* yes :
       {"gzip", "GZIP", "br, gzip", "gzip;q=0.5", "gzip ; q=0.001", "*", "br;q=0, *", "deflate,\tgzip"})
    EXPECT_TRUE(takes_gzip(yes)) << yes;
  for (const char* no : {"", "br", "identity", "gzip;q=0", "gzip; q=0.000", "*;q=0", "*, gzip;q=0", "gzipped", ",,;"})
    EXPECT_FALSE(takes_gzip(no)) << no;
}

TEST(PageTest, Gunzip) {
  // printf 'hello hello hello\n' | gzip -n9
  constexpr uint8_t kHello[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03,
                                0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0xc8, 0x40, 0x90, 0x5c,
                                0x00, 0x3b, 0x7c, 0x8a, 0xdf, 0x12, 0x00, 0x00, 0x00};
  EXPECT_EQ(gunzip(kHello), "hello hello hello\n");
  EXPECT_EQ(gunzip({}), "");
  EXPECT_EQ(gunzip(std::span(kHello).first(12)), "");
}

TEST(PageTest, IsWhole) {
  EXPECT_TRUE(is_page("/"));
  for (const char* path : {"", "page.js", "//", "/..", "/none", "/v1/models", "/health", "/metrics"})
    EXPECT_FALSE(is_page(path)) << path;
  if (chat_page().empty()) GTEST_SKIP() << "built without npm, and so without the page";
  size_t bytes = 0;
  for (const auto& file : chat_page()) {
    EXPECT_TRUE(is_page("/" + std::string(file.name)));
    EXPECT_FALSE(gunzip(file.gzip).empty()) << file.name;
    bytes += file.gzip.size();
  }
  EXPECT_TRUE(is_page("/page.js") && is_page("/page.css"));
  EXPECT_LT(bytes, 150'000u);
}

}  // namespace
}  // namespace onebit::server
