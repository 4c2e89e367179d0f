#include "landing/key_file.h"

#include <gtest/gtest.h>

#include "tests/landing/temporary_folder.h"

namespace onebit::landing {
namespace {

class KeyFile : public ::testing::Test {
 protected:
  std::string error_of(const std::string& text) {
    folder.write("key", text);
    const auto key = read_key(folder.path("key"));
    return key ? "none: " + *key : key.error().message;
  }
  TemporaryFolder folder;
};

TEST_F(KeyFile, TheFirstLineThatIsOne) {
  folder.write("key", "# of the server\r\n\r\nsecret-1\r\nsecret-2\n");
  EXPECT_EQ(read_key(folder.path("key")), "secret-1");
  folder.write("key", "secret-3");
  EXPECT_EQ(read_key(folder.path("key")), "secret-3");
}

TEST_F(KeyFile, WhyThereIsNone) {
  for (const auto& path : {folder.path("none"), folder.path(), folder.path("key") + "/under"}) {
    const auto key = read_key(path);
    ASSERT_FALSE(key) << path;
    EXPECT_NE(key.error().message.find("cannot be read"), std::string::npos) << key.error().message;
    EXPECT_EQ(key.error().message.find(folder.path()), std::string::npos) << "the page shows it to everybody";
  }
  for (const char* text : {"", "\n", "# only this\n\n"})
    EXPECT_NE(error_of(text).find("holds no key"), std::string::npos) << error_of(text);
  for (const char* text : {"a\tb\n", "a\rX: y\n", "\xC3\xA9\n"})
    EXPECT_NE(error_of(text).find("can be no key"), std::string::npos) << error_of(text);
  EXPECT_FALSE(read_key("/dev/zero"));
}

}  // namespace
}  // namespace onebit::landing
