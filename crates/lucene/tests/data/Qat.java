import com.intel.qat.QatZipper;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.zip.CRC32;
import org.apache.lucene.codecs.*;
import org.apache.lucene.codecs.compressing.*;
import org.apache.lucene.codecs.lucene90.compressing.Lucene90CompressingStoredFieldsFormat;
import org.apache.lucene.codecs.lucene912.Lucene912Codec;
import org.apache.lucene.document.*;
import org.apache.lucene.index.*;
import org.apache.lucene.store.*;
import org.apache.lucene.util.BytesRef;

/**
 * Writes the cases qat_lz4, qat_deflate and qat_zstd: {@code java Qat OUT_DIR}. See README.md.
 *
 * <p>Stored fields as OpenSearch's plugin custom-codecs lays them out: names, sizes of blocks and their ten pieces. Lucene
 * writes the files, QATzip compresses the pieces, in software where there is no hardware for it.
 */
public final class Qat {
    /** The length of the pieces, then each: its compressed length, and what QATzip made of it. */
    static final class Mode extends CompressionMode {
        final QatZipper.Algorithm algorithm;

        Mode(QatZipper.Algorithm algorithm) {
            this.algorithm = algorithm;
        }

        @Override
        public Compressor newCompressor() {
            QatZipper zipper =
                new QatZipper.Builder().setAlgorithm(algorithm).setMode(QatZipper.Mode.AUTO).build();
            return new Compressor() {
                @Override
                public void compress(ByteBuffersDataInput in, DataOutput out) throws IOException {
                    int left = (int) in.length(), each = (left + 9) / 10;
                    for (out.writeVInt(each); left > 0; left -= Math.min(each, left)) {
                        byte[] piece = new byte[Math.min(each, left)];
                        in.readBytes(piece, 0, piece.length);
                        byte[] packed = new byte[zipper.maxCompressedLength(piece.length)];
                        int length = zipper.compress(piece, 0, piece.length, packed, 0, packed.length);
                        out.writeVInt(length);
                        out.writeBytes(packed, length);
                    }
                }

                @Override
                public void close() {}
            };
        }

        @Override
        public Decompressor newDecompressor() {
            return new Decompressor() {
                @Override
                public void decompress(DataInput in, int original, int offset, int length, BytesRef bytes) {
                    throw new UnsupportedOperationException("nothing is read here");
                }

                @Override
                public Decompressor clone() {
                    return this;
                }
            };
        }
    }

    static void write(Path out, QatZipper.Algorithm algorithm, int blockLength) throws IOException {
        String name = algorithm.name().charAt(0) + algorithm.name().substring(1).toLowerCase(Locale.ROOT);
        StoredFieldsFormat stored = new Lucene90CompressingStoredFieldsFormat(
            "QatStoredFields" + name, new Mode(algorithm), blockLength, 4096, 10);
        String kase = "qat_" + name.toLowerCase(Locale.ROOT);
        IndexWriterConfig config = new IndexWriterConfig().setUseCompoundFile(false);
        config.setMergePolicy(NoMergePolicy.INSTANCE).setCodec(new FilterCodec("Qat" + name, new Lucene912Codec()) {
            @Override
            public StoredFieldsFormat storedFieldsFormat() {
                return stored;
            }
        });
        Path dir = Files.createDirectories(out.resolve(kase));
        Map<String, String> rows = new TreeMap<>();
        try (Directory directory = FSDirectory.open(dir); IndexWriter writer = new IndexWriter(directory, config)) {
            for (int n = 0; n < 700; n++) {
                // One is far longer than the buffers of the hardware, so that its pieces are several frames each.
                String text = n == 350 ? "sliced block of " + "many numbers ".repeat(80_000) : "text ".repeat(n % 60) + n * n;
                byte[] source = ("{\"t\":\"" + text + "\"}").getBytes(StandardCharsets.UTF_8);
                byte[] id = ("\u00ffid " + n).getBytes(StandardCharsets.ISO_8859_1);
                Document document = new Document();
                document.add(new StoredField("_id", id));
                document.add(new StoredField("_source", source));
                writer.addDocument(document);
                CRC32 crc = new CRC32();
                crc.update(source);
                rows.put(HexFormat.of().formatHex(id), String.format("%08x", crc.getValue()));
            }
            writer.commit();
        }
        Files.deleteIfExists(dir.resolve("write.lock"));
        try (PrintWriter tsv = new PrintWriter(out.resolveSibling(kase + ".tsv").toFile())) {
            rows.forEach((id, crc) -> tsv.print(id + "\t" + crc + "\n"));
        }
    }

    public static void main(String[] args) throws IOException {
        Path out = Path.of(args[0]);
        write(out, QatZipper.Algorithm.LZ4, 10 * 8 * 1024);
        write(out, QatZipper.Algorithm.DEFLATE, 10 * 48 * 1024);
        write(out, QatZipper.Algorithm.ZSTD, 10 * 48 * 1024);
    }
}
