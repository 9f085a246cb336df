-- The rows, by SQL alone and always the same: random() only where one plain scan draws from it after setseed().
-- Session settings that portal.py makes: demo.submissions, demo.events, demo.sessions, demo.documents, demo.document_kib.
SET ROLE agepar_owner;
SET search_path = portal, extensoes, pg_catalog;
SET timezone = 'America/Sao_Paulo';
SELECT setseed(0.20261123);

INSERT INTO concessionaria (nome, documento, sede, contatos)
SELECT (ARRAY['Águas', 'Estradas', 'Gás', 'Ônibus', 'Balsas', 'Trilhos', 'Resíduos', 'Pedágios'])[1 + i % 8] || ' do Paraná ' || i,
       lpad((i * 7919)::text, 14, '0'),
       ROW('Rua das Araucárias, "fundos"', i, lpad(i::text, 8, '8'))::endereco,
       ARRAY['Contato' || i || '@Example.COM', 'ouvidoria' || i || '@example.com']
FROM generate_series(1, 40) AS i;

INSERT INTO usuario (email, nome, senha, concessionaria, criado_em, preferencias)
SELECT 'Pessoa.' || i || '@Example.com.br',
       (ARRAY['João', 'Luíza', 'André', 'Conceição', 'D''Ávila', 'Iñaki', 'Øystein', 'Zoë'])[1 + i % 8] || ' ' || i,
       encode(digest('senha ' || i, 'sha256'), 'hex'),
       100 + 10 * (i % 40),
       timestamptz '2024-01-01 08:00 -03' + i * interval '17 minutes',
       jsonb_build_object('idioma', 'pt-BR', 'tema', CASE i % 3 WHEN 0 THEN 'escuro' ELSE 'claro' END, 'avisos', i % 2 = 0)
FROM generate_series(1, 5000) AS i;
UPDATE concessionaria SET responsavel = (id - 90) / 10;

-- Text with the redundancy of text: sentences of words, put together by three.
CREATE TEMPORARY TABLE frase AS
SELECT s AS id, string_agg(palavras[1 + floor(random() * 40)::int], ' ' ORDER BY w) || '. ' AS texto
FROM (SELECT string_to_array('a o de que requer nos termos da Resolução nº revisão tarifária água esgoto gás canalizado pedágio '
        'concessão contrato equilíbrio econômico-financeiro reajuste anual usuários prazo recurso decisão voto relator diretoria '
        'audiência pública consulta parecer técnico jurídico multa fiscalização transporte saneamento', ' ')) AS p (palavras),
     generate_series(0, 1999) AS s, generate_series(1, 34) AS w
GROUP BY s;
ALTER TABLE frase ADD PRIMARY KEY (id);
ANALYZE frase;

INSERT INTO peticao (autor, concessionaria, situacao, titulo, texto, formulario, recebida_em)
SELECT 1 + abs(hashint8extended(i, 1) % 5000),
       100 + 10 * abs(hashint8extended(i, 2) % 40),
       (enum_range(NULL::situacao))[1 + abs(hashint8extended(i, 3) % 5)],
       (ARRAY['Pedido de revisão', 'Recurso', 'Denúncia', 'Consulta', 'Impugnação'])[1 + i % 5] || ' nº ' || i || ' — ' || left(um.texto, 40),
       um.texto || dois.texto || md5(i::text) || E'\nNestes termos, pede "deferimento".\n',
       jsonb_build_object('anexos', i % 7, 'hash', md5('f' || i), 'valor', (i % 100000) / 100.0,
                          'partes', jsonb_build_array(jsonb_build_object('nome', 'Parte ' || i % 977, 'papel', 'requerente'),
                                                      jsonb_build_object('nome', 'Agência', 'papel', 'reguladora')),
                          'observação', left(tres.texto, 120)),
       timestamptz '2025-06-01 00:00 -03' + i * (interval '540 days' / current_setting('demo.submissions')::bigint)
FROM generate_series(1, current_setting('demo.submissions')::bigint) AS i
JOIN frase AS um ON um.id = abs(hashint8extended(i, 4) % 2000)
JOIN frase AS dois ON dois.id = abs(hashint8extended(i, 5) % 2000)
JOIN frase AS tres ON tres.id = abs(hashint8extended(i, 6) % 2000)
ORDER BY i;

INSERT INTO auditoria.evento (id, ocorrido_em, origem, ator, acao, objeto, antes, depois)
SELECT i, timestamptz '2025-12-20 00:00 -03' + i * (interval '350 days' / current_setting('demo.events')::bigint),
       (ARRAY['portal', 'api', 'rotina noturna', 'balcão'])[1 + abs(hashint8extended(i, 7) % 4)],
       'Pessoa.' || 1 + abs(hashint8extended(i, 8) % 5000),
       (ARRAY['entrou', 'abriu petição', 'mudou situação', 'baixou documento', 'saiu'])[1 + abs(hashint8extended(i, 9) % 5)],
       abs(hashint8extended(i, 10) % current_setting('demo.submissions')::bigint),
       CASE WHEN i % 5 = 0 THEN jsonb_build_object('situacao', 'recebida', 'ip', '10.0.0.' || i % 255) END,
       jsonb_build_object('situacao', 'em análise', 'marca', md5(i::text))
FROM generate_series(1, current_setting('demo.events')::bigint) AS i;
SELECT setval('auditoria.evento_id', current_setting('demo.events')::bigint);

INSERT INTO sessao
SELECT md5('sessão ' || i)::uuid, 1 + abs(hashint8extended(i, 11) % 5000), digest('token ' || i, 'sha256'),
       inet '10.0.0.0' + abs(hashint8extended(i, 12) % 16000000),
       CASE WHEN i % 11 > 0 THEN 'Mozilla/5.0 (X11; Linux x86_64; rv:' || i % 140 || '.0) Gecko/20100101 Firefox/' || i % 140 || '.0' END,
       periodo(inicio, inicio + interval '8 hours')
FROM (SELECT i, timestamptz '2026-11-01 00:00 -03' + i * interval '3 seconds' AS inicio
      FROM generate_series(1, current_setting('demo.sessions')::bigint) AS i) AS s;

INSERT INTO audiencia
SELECT 'Sala ' || i % 5, periodo(inicio, inicio + interval '90 minutes'), 'Revisão nº ' || i
FROM (SELECT i, timestamptz '2026-01-05 09:00 -03' + i * interval '1 day' AS inicio FROM generate_series(1, 300) AS i) AS a;

INSERT INTO tarifa SELECT 'água', date '2020-01-01' + i * 30, 4.5 + i * 0.01, i % 100 FROM generate_series(1, 60) AS i;
INSERT INTO tarifa_historica SELECT 'gás', date '2010-01-01' + i * 30, 2.25 + i * 0.01, i % 100, 'reajuste "anual"' FROM generate_series(1, 90) AS i;
INSERT INTO "Tarifa ""social"" d'água & 100% grátis; DROP TABLE x; --"
VALUES (0.00, E'uma linha\noutra\r\n\ttab \\ barra', '%s', 1, ARRAY['água', NULL, '', 'NULL', '"', '\', '{}', '日本']),
       (NULL, '', E'\\.', NULL, '{}'), (NULL, NULL, NULL, NULL, NULL);
INSERT INTO "relatórios 2026"."uma tabela cujo nome tem exatos sessenta e três bytes, 100% ok"
SELECT id, 'relatório ' || id FROM peticao WHERE id <= 1000;
INSERT INTO "sem colunas" DEFAULT VALUES;
INSERT INTO "sem colunas" DEFAULT VALUES;
INSERT INTO "sem colunas" DEFAULT VALUES;
INSERT INTO "cache de páginas" SELECT '/pagina/' || i, decode(repeat(md5(i::text), 20), 'hex'), 'infinity' FROM generate_series(1, 500) AS i;
INSERT INTO extremos (id, r, d, n, dia, hora, i, b, m, bits, rede, mac, x, j, textos, matriz, faixa, lugar) VALUES
  (1, 'NaN', '-Infinity', 'NaN', '0044-03-15 BC', '-infinity', '-178000000 years', '', '-92233720368547758.08', B'', '::/0',
   '08:00:2b:01:02:03:04:05', '<a b="ç">&amp;</a>', '{"a":1, "a":2 }', '{}', '[5:6][-1:0]={{1,2},{3,4}}', '{}', ROW(NULL, NULL, NULL)),
  (2, 1.17549435e-38, 1.7976931348623157e308, 'Infinity', 'infinity', '294276-12-31 23:59:59.999999+00', '1 mon -1 days +00:00:00.000001',
   decode('00ff5c0a', 'hex'), '92233720368547758.07', B'101', '10.0.0.0/8', 'ff:ff:ff:ff:ff:ff:ff:ff', '', 'null',
   ARRAY[NULL, 'NULL', '', E'\x01\x7f'], NULL, '{(,1),[3,5),[9,)}', NULL),
  (3, -0.0, 5e-324, 1e-100, '5874897-12-31', '4713-01-01 00:00:00+00 BC', '00:00:00', decode(repeat('5c', 100000), 'hex'), 0, NULL, NULL, NULL,
   NULL, NULL, NULL, NULL, NULL, ROW('', -1, '        '));

-- Documents: large objects with numbers of their own, as incompressible as the PDF files they stand for (MD5 upon MD5).
-- The app makes them, so they are its own.
GRANT USAGE ON SCHEMA portal, extensoes TO agepar_app;
GRANT SELECT, INSERT ON documento TO agepar_app;
GRANT SELECT, REFERENCES ON peticao TO agepar_app;
SET ROLE agepar_app;
INSERT INTO documento
SELECT md5('documento ' || i)::uuid, i, 'Anexo nº ' || i || ' "final (2)".pdf',
       lo_from_bytea(400000 + i, bytes), sha256(bytes)
FROM (SELECT i, (SELECT decode(string_agg(md5(i || '/' || j), ''), 'hex') FROM generate_series(1, 64 * current_setting('demo.document_kib')::int) AS j) AS bytes
      FROM generate_series(1, current_setting('demo.documents')::int) AS i OFFSET 0) AS d;
-- One that is empty, one larger than a page of them, one with a hole.
SELECT lo_create(399998), lo_create(399999), lo_put(399999, 10000000, 'fim');
SET ROLE agepar_owner;
DROP TABLE frase;
SELECT nextval('"senha de atendimento"') FROM generate_series(1, 1007);
RESET ROLE;
RESET search_path;
RESET timezone;
