// PAGE=chat or live: builds web/PAGE into OUT, as files whose names do not change (their ETags do).
import { defineConfig } from "vite";

export default defineConfig({
  root: process.env.PAGE,
  base: "./",
  publicDir: false,
  worker: { format: "es", rollupOptions: { output: { entryFileNames: "[name].js" } } },
  build: {
    outDir: process.env.OUT,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: { entryFileNames: "page.js", assetFileNames: "page[extname]", inlineDynamicImports: true },
    },
  },
});
