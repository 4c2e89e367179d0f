#include "box/settings.h"

#include <gtest/gtest.h>

#include "tests/box/box_folder.h"

namespace onebit::box {
namespace {

TEST(Settings, DefaultsWhereThereAreNoFiles) {
  const test::BoxFolder box;
  const auto s = read_service_settings(box.roots());
  EXPECT_EQ(s.server_url(), "http://127.0.0.1:8080");
  EXPECT_EQ(s.landing_url(), "http://127.0.0.1:8190");
  EXPECT_EQ(s.model, "");
  EXPECT_EQ(s.unreadable, "");
}

TEST(Settings, VariablesAndTheOptionsBeforeThem) {
  const test::BoxFolder box;
  box.write("etc/1bit/server.env",
            "# the server\n; too\n\nONEBIT_MODEL=\"/models/a b.h1b\"\nONEBIT_HOST = 0.0.0.0\nONEBIT_PORT=81\r\n"
            "ONEBIT_API_KEY_FILE=/etc/1bit/keys\nONEBIT_SERVER_OPTIONS=--port=9000 --threads 4\nno assignment\n");
  box.write("etc/1bit/keys", "# keys\n\n  secret  \nanother\n");
  box.write("etc/1bit/landing.env", "ONEBIT_LANDING_HOST='::1'\nONEBIT_LANDING_OPTIONS=-p 9001 --title x\n");
  const auto s = read_service_settings(box.roots());
  EXPECT_EQ(s.model, "/models/a b.h1b");
  EXPECT_EQ(s.server_url(), "http://127.0.0.1:9000");
  EXPECT_EQ(s.landing_url(), "http://[::1]:9001");
  EXPECT_EQ(s.api_key, "secret");
}

TEST(Settings, APortThatIsNoneIsNotTaken) {
  const test::BoxFolder box;
  for (const char* port : {"0", "65536", "-1", "http", "80x", "99999999999"}) {
    box.write("etc/1bit/server.env", std::string("ONEBIT_PORT=") + port + "\n");
    EXPECT_EQ(read_service_settings(box.roots()).server_port, 8080u) << port;
  }
}

}  // namespace
}  // namespace onebit::box
